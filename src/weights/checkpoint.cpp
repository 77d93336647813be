#include "weights/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"

namespace gale {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = 100'000'000;

bool exists(const std::string& path) {
  std::error_code ignored;   // an unreadable path is as good as none here; opening it says why
  return std::filesystem::exists(path, ignored);
}

// A name inside the folder: a path in an index could make us read (and show) any file.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

using WeightMap = std::vector<std::pair<std::string, std::string>>;   // tensor, file

Result<WeightMap> read_index(const std::string& path) {
  GALE_ASSIGN(const std::string text, read_file(path, kMaxIndexBytes));
  Result<Json> json = parse_json(text);
  if (!json) return fail(ErrorCode::kCorrupt, "{}: {}", path, json.error().message);
  const auto map = json->is_object() ? json->find("weight_map") : json->end();
  if (map == json->end() || !map->is_object()) return fail(ErrorCode::kCorrupt, "{}: no object \"weight_map\"", path);
  WeightMap out;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) return fail(ErrorCode::kCorrupt, "{}: the file of {} is not a string", path, tensor);
    out.emplace_back(tensor, file.get<std::string>());
    if (!is_plain_file_name(out.back().second)) {
      return fail(ErrorCode::kCorrupt, "{}: {} is said to be in \"{}\", which is not a file name inside the folder",
                  path, tensor, out.back().second);
    }
  }
  return out;
}

}  // namespace

Checkpoint Checkpoint::dummy(const std::string& folder) {
  Checkpoint checkpoint(folder);
  checkpoint.is_dummy_ = true;
  return checkpoint;
}

Result<Checkpoint> Checkpoint::open(const std::string& folder) {
  if (!exists(folder)) return fail(ErrorCode::kNotFound, "no model folder {}", folder);
  Checkpoint checkpoint(folder);
  if (exists(folder + "/" + kIndexFile)) {
    GALE_TRY(checkpoint.open_sharded());
  } else if (exists(folder + "/" + kSingleFile)) {
    GALE_TRY(checkpoint.open_single());
  } else {
    return fail(ErrorCode::kNotFound, "{} holds neither {} nor {}", folder, kIndexFile, kSingleFile);
  }
  return checkpoint;
}

Status Checkpoint::open_single() {
  GALE_TRY(add_file(kSingleFile));
  for (const StoredTensor& tensor : files_.front().tensors()) by_name_.emplace(tensor.name, &tensor);
  return {};
}

Status Checkpoint::open_sharded() {
  const std::string index_path = folder_ + "/" + kIndexFile;
  GALE_ASSIGN(const WeightMap weight_map, read_index(index_path));
  std::set<std::string> file_names;
  for (const auto& [tensor, file] : weight_map) file_names.insert(file);
  for (const std::string& name : file_names) GALE_TRY(add_file(name));
  for (const SafetensorsFile& file : files_) {
    for (const StoredTensor& tensor : file.tensors()) {
      const auto [other, is_new] = by_name_.emplace(tensor.name, &tensor);
      if (!is_new) {
        return fail(ErrorCode::kCorrupt, "{}: tensor {} is in {} and in {}", folder_, tensor.name, other->second->file,
                    tensor.file);
      }
    }
  }
  for (const auto& [tensor, file] : weight_map) {
    const StoredTensor* stored = find(tensor);
    if (stored == nullptr || stored->file != file) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {} should be in {} and is not", index_path, tensor, file);
    }
  }
  return {};
}

Status Checkpoint::add_file(const std::string& file_name) {
  GALE_ASSIGN(SafetensorsFile file, SafetensorsFile::open(folder_, file_name));
  files_.push_back(std::move(file));
  return {};
}

std::vector<const MappedFile*> Checkpoint::mapped_files() const {
  std::vector<const MappedFile*> out;
  for (const SafetensorsFile& file : files_) out.push_back(&file.mapped());
  return out;
}

const MappedFile* Checkpoint::file_of(const void* data) const {
  const auto* byte = static_cast<const std::byte*>(data);
  for (const SafetensorsFile& file : files_) {
    const std::span<const std::byte> bytes = file.mapped().bytes();
    if (std::less_equal<>{}(bytes.data(), byte) && std::less<>{}(byte, bytes.data() + bytes.size()))
      return &file.mapped();
  }
  return nullptr;
}

bool Checkpoint::has_scaled_matrices() const {
  return std::ranges::any_of(by_name_, [](const auto& entry) { return entry.second->data.dtype == DType::kF8E4M3; });
}

const StoredTensor* Checkpoint::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace gale
