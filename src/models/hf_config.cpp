#include "models/hf_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <optional>

#include "base/mapped_file.h"

namespace gale {
namespace {

constexpr size_t kMaxConfigBytes = 16'000'000;

std::optional<int> as_int(const Json& json, int min, int max) {
  if (!json.is_number_integer()) return std::nullopt;
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(max)) return std::nullopt;
  const auto value = json.get<int64_t>();
  if (value < min || value > max) return std::nullopt;
  return static_cast<int>(value);
}

}  // namespace

Result<HfConfig> HfConfig::read(const std::string& folder) {
  const std::string path = folder + "/config.json";
  GALE_ASSIGN(const std::string text, read_file(path, kMaxConfigBytes));
  Result<Json> root = parse_json(text);
  if (!root) return fail(ErrorCode::kCorrupt, "{}: {}", path, root.error().message);
  if (!root->is_object()) return fail(ErrorCode::kCorrupt, "{}: expected a JSON object", path);
  auto document = std::make_shared<Document>(Document{path, std::move(*root), {}});
  const Json* object = &document->root;
  return HfConfig(std::move(document), object, "");
}

const Json* HfConfig::value(std::string_view key) const {
  if (object_ == nullptr) return nullptr;
  const auto found = object_->find(std::string(key));
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

HfConfig HfConfig::section(std::string_view key) {
  const Json* found = value(key);
  if (found != nullptr && !found->is_object()) {
    note_problem(key, "an object");
    found = nullptr;
  }
  return HfConfig(document_, found, prefix_ + std::string(key) + ".");
}

void HfConfig::note_problem(std::string_view key, std::string_view expected) {
  const Json* found = value(key);
  const std::string shown = found == nullptr ? "nothing" : dump_json(*found).substr(0, 100);
  document_->problems.push_back(fmt::format("{}{}: expected {}, found {}", prefix_, key, expected, shown));
}

int HfConfig::integer(std::string_view key, int min, int max) {
  const Json* found = value(key);
  const std::optional<int> out = found == nullptr ? std::nullopt : as_int(*found, min, max);
  if (!out) note_problem(key, fmt::format("an integer from {} to {}", min, max));
  return out.value_or(min);
}

int HfConfig::integer_or(std::string_view key, int fallback, int min, int max) {
  return has(key) ? integer(key, min, max) : fallback;
}

double HfConfig::number(std::string_view key) {
  const Json* found = value(key);
  if (found != nullptr && found->is_number() && found->get<double>() > 0 && std::isfinite(found->get<double>())) {
    return found->get<double>();
  }
  note_problem(key, "a positive number");
  return 1;
}

bool HfConfig::flag(std::string_view key) {
  const Json* found = value(key);
  if (found != nullptr && found->is_boolean()) return found->get<bool>();
  note_problem(key, "true or false");
  return false;
}

bool HfConfig::flag_or(std::string_view key, bool fallback) { return has(key) ? flag(key) : fallback; }

std::string HfConfig::text(std::string_view key) {
  const Json* found = value(key);
  if (found != nullptr && found->is_string()) return found->get<std::string>();
  note_problem(key, "a string");
  return "";
}

std::vector<int> HfConfig::integers(std::string_view key) {
  const Json* found = value(key);
  std::vector<int> out;
  bool is_right = found != nullptr && found->is_array();
  for (size_t i = 0; is_right && i < found->size(); ++i) {
    const std::optional<int> item = as_int((*found)[i], 0, kMaxExtent);
    is_right = item.has_value();
    out.push_back(item.value_or(0));
  }
  if (!is_right) note_problem(key, "a list of non-negative integers");
  return out;
}

std::vector<std::string> HfConfig::texts(std::string_view key) {
  const Json* found = value(key);
  std::vector<std::string> out;
  bool is_right = found != nullptr && found->is_array();
  for (size_t i = 0; is_right && i < found->size(); ++i) {
    is_right = (*found)[i].is_string();
    if (is_right) out.push_back((*found)[i].get<std::string>());
  }
  if (!is_right) note_problem(key, "a list of strings");
  return out;
}

void HfConfig::expect_text(std::string_view key, std::string_view only) {
  const Json* found = value(key);
  if (found == nullptr || !found->is_string() || found->get<std::string>() != only) {
    note_problem(key, fmt::format("\"{}\"", only));
  }
}

void HfConfig::expect_text_if_present(std::string_view key, std::string_view only) {
  if (has(key)) expect_text(key, only);
}

void HfConfig::expect_flag_if_present(std::string_view key, bool only) {
  if (has(key) && flag(key) != only) note_problem(key, only ? "true" : "false");
}

Status HfConfig::finish() const {
  if (document_->problems.empty()) return {};
  return fail(ErrorCode::kCorrupt, "{}: {}", document_->path, fmt::join(document_->problems, "; "));
}

}  // namespace gale
