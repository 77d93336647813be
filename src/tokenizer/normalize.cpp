#include "tokenizer/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"
#include "tokenizer/unicode_additions.h"

namespace gale {
namespace {

int combining_class(utf8proc_int32_t code_point) { return utf8proc_get_property(code_point)->combining_class; }

bool is_inert(uint32_t code_point) {
  const auto ranges = inert_in_nfc();
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code_point,
                       [](uint32_t wanted, const CodePointRange& range) { return wanted < range.first; });
  return after != ranges.begin() && code_point <= std::prev(after)->last;
}

void decompose(uint32_t code_point, std::vector<utf8proc_int32_t>& out) {
  constexpr int kMaxDecomposition = 16;   // the longest canonical one has 4
  utf8proc_int32_t parts[kMaxDecomposition];
  int last_boundary_class = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(code_point), parts, kMaxDecomposition,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &last_boundary_class);
  CHECK(count >= 0 && count <= kMaxDecomposition, "code point {:#x}", code_point);
  out.insert(out.end(), parts, parts + count);
}

// Canonical order. Not utf8proc's own: that one is quadratic in the length of a run of marks.
void sort_marks(std::vector<utf8proc_int32_t>& code_points) {
  const auto is_mark = [](utf8proc_int32_t code_point) { return combining_class(code_point) != 0; };
  auto run = std::find_if(code_points.begin(), code_points.end(), is_mark);
  while (run != code_points.end()) {
    const auto end = std::find_if_not(run, code_points.end(), is_mark);
    std::stable_sort(run, end, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    run = std::find_if(end, code_points.end(), is_mark);
  }
}

// Appends the composed form of decomposed code points, which it uses up.
void compose(std::vector<utf8proc_int32_t>& code_points, std::string& out) {
  sort_marks(code_points);
  const utf8proc_ssize_t length =
      utf8proc_normalize_utf32(code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  CHECK(length >= 0);
  for (utf8proc_ssize_t i = 0; i < length; ++i) append_utf8(out, static_cast<uint32_t>(code_points[i]));
  code_points.clear();
}

}  // namespace

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string normalize_nfc(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> pending;
  while (!text.empty()) {
    const CodePoint code_point = decode_utf8(text);
    if (is_inert(code_point.value)) {
      compose(pending, out);
      append_utf8(out, code_point.value);
    } else {
      decompose(code_point.value, pending);
    }
    text.remove_prefix(code_point.length);
  }
  compose(pending, out);
  return out;
}

}  // namespace gale
