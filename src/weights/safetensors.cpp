#include "weights/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "base/json.h"

namespace gale {
namespace {

constexpr size_t kLengthBytes = 8;

struct DTypeName { std::string_view name; DType dtype; };
constexpr std::array kDTypes = {
    DTypeName{"F32", DType::kF32},       DTypeName{"F16", DType::kF16}, DTypeName{"BF16", DType::kBF16},
    DTypeName{"F8_E4M3", DType::kF8E4M3}, DTypeName{"I32", DType::kI32}, DTypeName{"I64", DType::kI64},
    DTypeName{"U32", DType::kU32},       DTypeName{"U8", DType::kU8},
};

std::optional<DType> dtype_named(std::string_view name) {
  for (const DTypeName& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

// The header's length, checked against the file and the limit.
Result<size_t> header_bytes(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < kLengthBytes) {
    return fail(ErrorCode::kCorrupt, "{}: {} bytes are too few for a safetensors file", file.path(), bytes.size());
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  if (length > SafetensorsFile::kMaxHeaderBytes) {
    return fail(ErrorCode::kCorrupt, "{}: header of {} bytes; at most {} are accepted", file.path(), length,
                SafetensorsFile::kMaxHeaderBytes);
  }
  if (length > bytes.size() - kLengthBytes) {
    return fail(ErrorCode::kCorrupt, "{}: header of {} bytes, but the file has {} (truncated?)", file.path(), length,
                bytes.size());
  }
  return static_cast<size_t>(length);
}

// A JSON array of non-negative integers that fit int64.
std::optional<std::vector<int64_t>> integers(const Json& entry, std::string_view key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) return std::nullopt;
  std::vector<int64_t> out;
  for (const Json& item : *found) {
    if (!item.is_number_integer()) return std::nullopt;
    if (item.is_number_unsigned() && item.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()})
      return std::nullopt;
    out.push_back(item.get<int64_t>());
    if (out.back() < 0) return std::nullopt;
  }
  return out;
}

// Bytes of a tensor, or nothing if the product does not fit.
std::optional<int64_t> bytes_of(std::span<const int64_t> extents, DType dtype) {
  int64_t product = static_cast<int64_t>(size_of(dtype));
  for (const int64_t extent : extents) {
    if (__builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  return product;
}

struct Entry { StoredTensor tensor; int64_t begin; int64_t end; };

// Reads the header's entries of one file and places them in its data.
class HeaderReader {
 public:
  HeaderReader(const MappedFile& file, const std::string& file_name, size_t data_begin)
      : file_(file), file_name_(file_name), data_begin_(data_begin),
        data_bytes_(static_cast<int64_t>(file.bytes().size() - data_begin)) {}

  Result<Entry> read(const std::string& name, const Json& json) const {
    const auto dtype_field = json.find("dtype");
    if (!json.is_object() || dtype_field == json.end() || !dtype_field->is_string()) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {} has no dtype", file_.path(), name);
    }
    const std::string dtype_name = dtype_field->get<std::string>();
    const std::optional<DType> dtype = dtype_named(dtype_name);
    if (!dtype) {
      return fail(ErrorCode::kUnimplemented, "{}: tensor {} has the unknown dtype {}", file_.path(), name, dtype_name);
    }
    const auto extents = integers(json, "shape");
    if (!extents || extents->size() > size_t{Shape::kMaxRank}) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {}: shape must be up to {} non-negative integers", file_.path(),
                  name, Shape::kMaxRank);
    }
    const auto offsets = integers(json, "data_offsets");
    if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {}: data_offsets must be [begin, end]", file_.path(), name);
    }
    return place(name, *dtype, *extents, (*offsets)[0], (*offsets)[1]);
  }

 private:
  Result<Entry> place(const std::string& name, DType dtype, std::span<const int64_t> extents, int64_t begin,
                      int64_t end) const {
    if (end > data_bytes_) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {} ends at byte {} of {} bytes of data (truncated?)", file_.path(),
                  name, end, data_bytes_);
    }
    const Shape shape(extents);
    const std::optional<int64_t> expected = bytes_of(extents, dtype);
    if (!expected || *expected != end - begin) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {} of {} {} does not fill its {} bytes", file_.path(), name,
                  name_of(dtype), shape.to_string(), end - begin);
    }
    const std::byte* data = file_.bytes().data() + data_begin_ + begin;
    if (reinterpret_cast<uintptr_t>(data) % size_of(dtype) != 0) {
      return fail(ErrorCode::kUnimplemented, "{}: tensor {} is not aligned to its {} elements; save the file again",
                  file_.path(), name, name_of(dtype));
    }
    // Tensor has no read-only form; nothing writes through a StoredTensor, and the mapping would refuse it.
    Tensor view = Tensor::contiguous(const_cast<std::byte*>(data), dtype, shape);
    return Entry{{name, view, file_name_}, begin, end};
  }

  const MappedFile& file_;
  const std::string& file_name_;
  size_t data_begin_;
  int64_t data_bytes_;
};

// The format wants the data covered exactly: a hole or an overlap means that the header lies.
Status check_coverage(const std::string& path, std::vector<Entry>& entries, int64_t data_bytes) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  int64_t position = 0;
  std::string_view previous = "the start";
  for (const Entry& entry : entries) {
    if (entry.begin < position) {
      return fail(ErrorCode::kCorrupt, "{}: tensor {} overlaps {}", path, entry.tensor.name, previous);
    }
    if (entry.begin > position) {
      return fail(ErrorCode::kCorrupt, "{}: {} bytes between {} and tensor {} belong to nothing", path,
                  entry.begin - position, previous, entry.tensor.name);
    }
    position = entry.end;
    previous = entry.tensor.name;
  }
  if (position != data_bytes) {
    return fail(ErrorCode::kCorrupt, "{}: {} bytes behind the last tensor belong to nothing", path,
                data_bytes - position);
  }
  return {};
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::string& folder, const std::string& file_name) {
  GALE_ASSIGN(MappedFile file, MappedFile::open(folder + "/" + file_name));
  GALE_ASSIGN(const size_t length, header_bytes(file));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()) + kLengthBytes, length);
  Result<Json> header = parse_json(text, {.max_depth = 8, .max_bytes = kMaxHeaderBytes});
  if (!header) return fail(ErrorCode::kCorrupt, "{}: header: {}", file.path(), header.error().message);
  if (!header->is_object()) return fail(ErrorCode::kCorrupt, "{}: the header is not a JSON object", file.path());

  const HeaderReader reader(file, file_name, kLengthBytes + length);
  std::vector<Entry> entries;
  for (const auto& [name, json] : header->items()) {
    if (name == "__metadata__") continue;
    GALE_ASSIGN(Entry entry, reader.read(name, json));
    entries.push_back(std::move(entry));
  }
  GALE_TRY(check_coverage(file.path(), entries, static_cast<int64_t>(file.bytes().size() - kLengthBytes - length)));
  std::vector<StoredTensor> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) tensors.push_back(std::move(entry.tensor));
  return SafetensorsFile(std::move(file), std::move(tensors));
}

}  // namespace gale
