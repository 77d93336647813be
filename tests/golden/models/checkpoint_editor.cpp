#include "checkpoint_editor.h"

#include <cstring>
#include <fstream>

#include "base/check.h"
#include "base/mapped_file.h"
#include "weights/checkpoint.h"

namespace gale::golden {
namespace {

std::string safetensors_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
    case DType::kF8E4M3: return "F8_E4M3";
    case DType::kI32: return "I32";
    case DType::kI64: return "I64";
    case DType::kU32: return "U32";
    case DType::kU8: return "U8";
  }
  CHECK(false, "dtype {}", static_cast<int>(dtype));
}

using Named = std::vector<std::pair<std::string, const StoredBytes*>>;

void write_safetensors(const std::filesystem::path& path, const Named& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size());
    header[name] = {
        {"dtype", safetensors_dtype(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');   // data starts aligned
  write_file(path, safetensors_text(text, data));
}

// Wide elements first: behind an odd number of 2-byte ones they would be misaligned.
Named sorted_for_alignment(const std::map<std::string, StoredBytes>& tensors) {
  Named out;
  for (const bool wide : {true, false}) {
    for (const auto& [name, tensor] : tensors) {
      if ((size_of(tensor.dtype) >= 4) == wide) out.emplace_back(name, &tensor);
    }
  }
  return out;
}

}  // namespace

std::string data_folder(const std::string& case_name) {
  return std::string(GALE_SOURCE_DIR) + "/tests/golden/models/data/" + case_name;
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  CHECK(file.good(), "cannot write {}", path.string());
}

std::string safetensors_text(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  return out + header + data;
}

CheckpointEditor::CheckpointEditor(const std::string& case_name) {
  const std::string folder = data_folder(case_name);
  config = parse_json(read_file(folder + "/config.json", 1 << 20).value()).value();
  const Checkpoint checkpoint = Checkpoint::open(folder).value();
  for (const auto& [name, stored] : checkpoint.tensors()) {
    StoredBytes& tensor = tensors[name];
    tensor.dtype = stored->data.dtype;
    for (int dim = 0; dim < stored->data.shape.rank(); ++dim) tensor.shape.push_back(stored->data.shape[dim]);
    tensor.bytes.resize(stored->data.num_bytes());
    std::memcpy(tensor.bytes.data(), stored->data.data, tensor.bytes.size());
  }
}

StoredBytes CheckpointEditor::take(const std::string& name) {
  CHECK(tensors.contains(name), "no tensor {}", name);
  return std::move(tensors.extract(name).mapped());
}

void CheckpointEditor::rename(const std::string& from, const std::string& to) { tensors[to] = take(from); }

void CheckpointEditor::rename_prefix(const std::string& from, const std::string& to) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(from)) names.push_back(name);
  }
  for (const std::string& name : names) rename(name, to + name.substr(from.size()));
}

void CheckpointEditor::set_f32(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) {
  StoredBytes tensor{
      .dtype = DType::kF32, .shape = std::move(shape), .bytes = std::vector<std::byte>(values.size() * sizeof(float))};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  tensors[name] = std::move(tensor);
}

std::string CheckpointEditor::save() {
  folder_.write("config.json", dump_json(config));
  write_safetensors(folder_.path() / "model.safetensors", sorted_for_alignment(tensors));
  return folder_.path().string();
}

std::string CheckpointEditor::save_sharded(int num_files, const Json& metadata) {
  folder_.write("config.json", dump_json(config));
  std::vector<Named> shards(static_cast<size_t>(num_files));
  Json weight_map = Json::object();
  size_t next = 0;
  const auto name_of_shard = [&](size_t shard) {
    return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, num_files);
  };
  for (const auto& [name, tensor] : sorted_for_alignment(tensors)) {
    const size_t shard = next++ % shards.size();
    shards[shard].emplace_back(name, tensor);
    weight_map[name] = name_of_shard(shard);
  }
  for (size_t shard = 0; shard < shards.size(); ++shard)
    write_safetensors(folder_.path() / name_of_shard(shard), shards[shard]);
  folder_.write("model.safetensors.index.json", dump_json({{"metadata", metadata}, {"weight_map", weight_map}}));
  return folder_.path().string();
}

StoredBytes rows_of(const StoredBytes& tensor, int64_t begin, int64_t end) {
  StoredBytes out{.dtype = tensor.dtype, .shape = tensor.shape, .bytes = {}};
  const auto row = static_cast<int64_t>(tensor.bytes.size()) / tensor.shape.at(0);
  out.shape[0] = end - begin;
  out.bytes.assign(tensor.bytes.begin() + begin * row, tensor.bytes.begin() + end * row);
  return out;
}

StoredBytes joined(const std::vector<StoredBytes>& parts) {
  StoredBytes out{.dtype = parts.at(0).dtype, .shape = parts.at(0).shape, .bytes = {}};
  out.shape[0] = 0;
  for (const StoredBytes& part : parts) {
    out.shape[0] += part.shape.at(0);
    out.bytes.insert(out.bytes.end(), part.bytes.begin(), part.bytes.end());
  }
  return out;
}

}  // namespace gale::golden
