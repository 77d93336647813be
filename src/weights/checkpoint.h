#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "weights/safetensors.h"

namespace gale {

// All tensors of a model folder by name: model.safetensors, or the files that model.safetensors.index.json lists (its
// metadata.total_size is ignored: published indexes carry parameter counts there). Files stay mapped as long as this
// lives. Errors: kNotFound if the folder, the weights or a listed file is missing; kCorrupt if a file lies, if the
// index names a tensor that its file does not hold or a file outside the folder, or if two files hold the same name.
class Checkpoint {
 public:
  [[nodiscard]] static Result<Checkpoint> open(const std::string& folder);

  // No files at all: every tensor that is asked for "is there", without data, in bf16 (or in the one type a layer
  // accepts). For random weights, made where they are loaded.
  [[nodiscard]] static Checkpoint dummy(const std::string& folder);
  [[nodiscard]] bool is_dummy() const { return is_dummy_; }

  [[nodiscard]] bool has_scaled_matrices() const;                          // any tensor in e4m3
  [[nodiscard]] const StoredTensor* find(const std::string& name) const;   // null if there is none
  [[nodiscard]] const std::map<std::string, const StoredTensor*>& tensors() const { return by_name_; }
  [[nodiscard]] std::vector<const MappedFile*> mapped_files() const;
  [[nodiscard]] const MappedFile* file_of(const void* data) const;  // the file whose mapping holds the byte, or null
  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  explicit Checkpoint(std::string folder) : folder_(std::move(folder)) {}
  Status open_single();
  Status open_sharded();
  Status add_file(const std::string& file_name);

  std::string folder_;
  bool is_dummy_ = false;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const StoredTensor*> by_name_;
};

}  // namespace gale
