#pragma once

#include <span>
#include <string_view>

namespace gale {

// A page or picture of the guide, docs/ as web pages, embedded in the program. Made by cmake/embed_guide.py.
struct GuideFile {
  std::string_view path;               // "/docs/guide/serving"
  std::string_view content_type;
  std::string_view digest;             // of its bytes
  std::string_view bytes;
};
[[nodiscard]] std::span<const GuideFile> all_guide_files();

inline constexpr std::string_view kGuidePath = "/docs/guide";   // its first page
[[nodiscard]] const GuideFile* find_guide_file(std::string_view path);

}  // namespace gale
