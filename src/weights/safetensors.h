#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace gale {

// One tensor of a file, as its header describes it. `data` lies in the mapped file and is read-only by contract.
struct StoredTensor {
  std::string name;
  Tensor data;
  std::string file;   // name of the file, without its folder
};

// A safetensors file, mapped. Opening checks the header and touches nothing behind it: 8 bytes of length (at most 100
// MB), JSON {name: {dtype, shape, data_offsets}}, then the data. Offsets must lie inside the file, leave no holes and
// not overlap, and the extents of each tensor must fill them. Errors (kCorrupt; kUnimplemented for a dtype gale does
// not know) name the file and the tensor.
class SafetensorsFile {
 public:
  static constexpr size_t kMaxHeaderBytes = 100'000'000;
  [[nodiscard]] static Result<SafetensorsFile> open(const std::string& folder, const std::string& file_name);
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const { return tensors_; }
  [[nodiscard]] const MappedFile& mapped() const { return file_; }

 private:
  SafetensorsFile(MappedFile file, std::vector<StoredTensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}
  MappedFile file_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace gale
