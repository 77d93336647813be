#include "tensor/device.h"

#include <utility>

#include "tensor/host_memory.h"

namespace gale {

Result<Arena> Arena::create(Device& device, MemoryKind kind, size_t num_bytes) {
  GALE_ASSIGN(std::unique_ptr<Buffer> buffer, device.allocate(kind, padded(num_bytes)));
  return Arena(std::move(buffer));
}

Tensor Arena::allocate(DType dtype, const Shape& shape) {
  const size_t num_bytes = padded(static_cast<size_t>(shape.num_elements()) * size_of(dtype));
  CHECK(num_bytes <= capacity_bytes() - used_, "{} {} needs {} bytes, the arena has {} of {} left", name_of(dtype),
        shape.to_string(), num_bytes, capacity_bytes() - used_, capacity_bytes());
  Tensor piece = Tensor::contiguous(buffer_->data() + used_, dtype, shape);
  used_ += num_bytes;
  return piece;
}

namespace {

class NullDevice final : public Device {
 public:
  [[nodiscard]] const DeviceCaps& caps() const override { return caps_; }
  [[nodiscard]] DeviceMemory memory() const override { return host_memory(); }
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override { return std::make_unique<SynchronousStream>(); }
  [[nodiscard]] Result<std::unique_ptr<Buffer>> allocate(MemoryKind, size_t num_bytes) override {
    return allocate_host_memory(num_bytes);
  }
  void copy(Stream&, void*, const void*, size_t) override {}

 private:
  DeviceCaps caps_{.kind = DeviceKind::kNull, .name = "null"};
};

}  // namespace

std::unique_ptr<Device> make_null_device() { return std::make_unique<NullDevice>(); }

}  // namespace gale
