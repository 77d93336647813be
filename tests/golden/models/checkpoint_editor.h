#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/temp_folder_testing.h"
#include "tensor/tensor.h"

namespace gale::golden {

[[nodiscard]] std::string data_folder(const std::string& case_name);

struct StoredBytes {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

// A checkpoint in memory, to be saved with changes: what other tools make of it, or something broken.
class CheckpointEditor {
 public:
  explicit CheckpointEditor(const std::string& case_name);   // a folder of data/

  Json config;
  std::map<std::string, StoredBytes> tensors;

  StoredBytes take(const std::string& name);                  // removes it
  void rename(const std::string& from, const std::string& to);
  void rename_prefix(const std::string& from, const std::string& to);
  void set_f32(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values);

  // Into a fresh folder that is removed with this object; returns it.
  std::string save();
  std::string save_sharded(int num_files, const Json& metadata);

 private:
  TempFolder folder_;
};

// Rows `begin` … `end` of a tensor's outermost dimension, and tensors one after the other along it.
[[nodiscard]] StoredBytes rows_of(const StoredBytes& tensor, int64_t begin, int64_t end);
[[nodiscard]] StoredBytes joined(const std::vector<StoredBytes>& parts);

void write_file(const std::filesystem::path& path, const std::string& text);
// The text of a safetensors file: length, header, data. `header` may be anything.
[[nodiscard]] std::string safetensors_text(const std::string& header, const std::string& data);

}  // namespace gale::golden
