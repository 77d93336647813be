#include "chat/json_formats.h"

#include <fmt/format.h>

namespace gale {
namespace {

constexpr std::string_view kYear = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)";
// 29 February apart: years that 4 divides, centuries only if 400 does.
constexpr std::string_view kMonthAndDay =
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))";
constexpr std::string_view kLeapDay =
    "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29";
// Twice the zone: in a group that may be absent, xgrammar lets the dot be absent alone.
constexpr std::string_view kTime =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]((Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])|"
    "\\.[0-9]{1,9}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))";
constexpr std::string_view kOctet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";

std::string date() { return fmt::format("({}-{}|{})", kYear, kMonthAndDay, kLeapDay); }

// Eight groups, or fewer on both sides of two colons.
std::string ipv6() {
  constexpr std::string_view kGroup = "[0-9a-fA-F]{1,4}";
  std::string all = fmt::format("({0}:){{7}}{0}|({0}:){{1,7}}:|:((:{0}){{1,7}}|:)", kGroup);
  for (int behind = 1; behind <= 6; ++behind)
    all += fmt::format("|({0}:){{1,{1}}}(:{0}){{1,{2}}}", kGroup, 7 - behind, behind);
  return all;
}

std::string email() {
  constexpr std::string_view kAtom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]";
  constexpr std::string_view kLabel = "[A-Za-z0-9]([A-Za-z0-9-]{0,14}[A-Za-z0-9])?";
  return fmt::format("{0}(\\.?{0}){{0,31}}@{1}(\\.{1}){{1,3}}", kAtom, kLabel);
}

}  // namespace

std::string pattern_of_format(std::string_view format) {
  std::string pattern;
  if (format == "date") pattern = date();
  if (format == "time") pattern = kTime;
  if (format == "date-time") pattern = fmt::format("{}T{}", date(), kTime);
  if (format == "ipv4") pattern = fmt::format("({0}\\.){{3}}{0}", kOctet);
  if (format == "ipv6") pattern = ipv6();
  if (format == "email") pattern = email();
  return pattern.empty() ? "" : fmt::format("^({})$", pattern);
}

}  // namespace gale
