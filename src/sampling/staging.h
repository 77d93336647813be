#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "tensor/device.h"

namespace gale {

template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::kF32; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::kI32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::kI64; };
template <> struct DTypeOf<uint32_t> { static constexpr DType value = DType::kU32; };

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
    CHECK(static_cast<int64_t>(values.size()) == shape.num_elements(), "{} values for {}", values.size(), shape.to_string());
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
  Staging(Device& device, Arena host, Arena remote) : device_(&device), host_(std::move(host)), remote_(std::move(remote)) {}
  Device* device_;
  Arena host_, remote_;
};

}  // namespace gale
