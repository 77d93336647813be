#pragma once

#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "tensor/device.h"

namespace gale {

template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::kF32; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::kI32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::kI64; };
template <> struct DTypeOf<uint32_t> { static constexpr DType value = DType::kU32; };

// Carries the small arrays of a step to the device in one copy. The host side is a ring of buffers, so that a step can
// be prepared while the one before is still under way; the device side is one region, overwritten in stream order:
// equal sequences of put() give equal addresses, which is what a captured graph needs.
class PackedUpload {
 public:
  // A buffer is used again after num_buffers - 1 others: by then the stream must be done with it.
  [[nodiscard]] static Result<PackedUpload> create(Device& device, size_t num_bytes, int num_buffers) {
    PackedUpload upload(device);
    for (int i = 0; i < num_buffers; ++i) {
      GALE_ASSIGN(Arena host, Arena::create(device, MemoryKind::kHostPinned, num_bytes));
      upload.hosts_.push_back(std::move(host));
    }
    GALE_ASSIGN(Arena remote, Arena::create(device, MemoryKind::kDevice, num_bytes));
    upload.remote_.emplace(std::move(remote));
    return upload;
  }

  // Starts a new set of arrays in the next host buffer.
  void begin() {
    current_ = (current_ + 1) % hosts_.size();
    hosts_[current_].reset();
    remote_->reset();
    first_ = nullptr;
  }
  // Memory to fill on the host and where it will be on the device.
  template <class T>
  struct Array { std::span<T> host; Tensor device; };
  template <class T>
  [[nodiscard]] Array<T> put(const Shape& shape) {
    const Tensor host = hosts_[current_].allocate(DTypeOf<T>::value, shape);
    if (first_ == nullptr) first_ = static_cast<std::byte*>(host.data);
    return {{host.as<T>(), static_cast<size_t>(shape.num_elements())}, remote_->allocate(DTypeOf<T>::value, shape)};
  }
  // Enqueues the copy of all that was put since begin().
  void send(Stream& stream) {
    const size_t num_bytes = hosts_[current_].used_bytes();
    if (num_bytes > 0) device_->copy(stream, remote_base(), first_, num_bytes);
  }

 private:
  explicit PackedUpload(Device& device) : device_(&device) {}
  [[nodiscard]] std::byte* remote_base() {
    remote_->reset();
    return static_cast<std::byte*>(remote_->allocate(DType::kU8, {1}).data);
  }
  Device* device_;
  std::vector<Arena> hosts_;
  std::optional<Arena> remote_;
  size_t current_ = 0;
  std::byte* first_ = nullptr;         // of the current host buffer
};

// Carries small arrays between host and device: pinned memory on one side, device memory on the other, both taken once.
// What upload() returned lives until reset(), which must wait for the stream's work on it.
class Staging {
 public:
  [[nodiscard]] static Result<Staging> create(Device& device, size_t num_bytes) {
    GALE_ASSIGN(Arena host, Arena::create(device, MemoryKind::kHostPinned, num_bytes));
    GALE_ASSIGN(Arena remote, Arena::create(device, MemoryKind::kDevice, num_bytes));
    return Staging(device, std::move(host), std::move(remote));
  }

  void reset() {
    host_.reset();
    remote_.reset();
  }

  // A device tensor with these elements; an empty one if there are none.
  template <class T>
  [[nodiscard]] Tensor upload(Stream& stream, const std::vector<T>& values, const Shape& shape) {
    CHECK(static_cast<int64_t>(values.size()) == shape.num_elements(), "{} values for {}", values.size(),
          shape.to_string());
    if (values.empty()) return {};
    const Tensor host = host_.allocate(DTypeOf<T>::value, shape);
    const Tensor remote = remote_.allocate(DTypeOf<T>::value, shape);
    std::memcpy(host.data, values.data(), host.num_bytes());
    device_->copy(stream, remote.data, host.data, host.num_bytes());
    return remote;
  }
  template <class T>
  [[nodiscard]] Tensor upload(Stream& stream, const std::vector<T>& values) {
    return upload(stream, values, {static_cast<int64_t>(values.size())});
  }

  // Device memory for results.
  [[nodiscard]] Tensor allocate(DType dtype, const Shape& shape) { return remote_.allocate(dtype, shape); }

  // The elements of a contiguous device tensor, for the host to read after stream.synchronize().
  template <class T>
  [[nodiscard]] std::span<const T> download(Stream& stream, const Tensor& tensor) {
    if (tensor.is_empty()) return {};
    const Tensor host = host_.allocate(tensor.dtype, tensor.shape);
    device_->copy(stream, host.data, tensor.data, tensor.num_bytes());
    return {host.as<T>(), static_cast<size_t>(tensor.num_elements())};
  }

 private:
  Staging(Device& device, Arena host, Arena remote)
      : device_(&device), host_(std::move(host)), remote_(std::move(remote)) {}
  Device* device_;
  Arena host_, remote_;
};

}  // namespace gale
