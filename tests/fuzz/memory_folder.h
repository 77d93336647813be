#pragma once

#include <filesystem>

namespace gale {

// Where parsers that take files get theirs: in memory, where there is such a place.
inline std::filesystem::path memory_folder() {
  const std::filesystem::path memory = "/dev/shm";
  return std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
}

}  // namespace gale
