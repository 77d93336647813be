#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "base/check.h"

// For tests: files. Tests of one binary run beside each other, each in a process of its own, so a file of a fixed name
// belongs in a folder that no other test has.
namespace gale {

class TempFolder {
 public:
  explicit TempFolder(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string pattern = parent / "gale_test_XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr, "no temporary folder {}", pattern);
    path_ = pattern;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;   // files left behind among temporary ones harm nothing
    std::filesystem::remove_all(path_, ignored);
  }

  // The path of the file.
  std::string write(const std::string& name, std::string_view text) const {
    const std::string path = path_ / name;
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    CHECK(file.flush().good(), "cannot write {}", path);
    return path;
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace gale
