#include "engine/pooling_internal.h"

#include <algorithm>
#include <utility>

#include "tensor/convert.h"

namespace gale {
namespace {

constexpr int64_t kRowsAtOnce = 128;  // copied to the host before they are summed

template <class T, class Widen>
void add_row(std::vector<double>& sum, const T* row, Widen widen) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(widen(row[i]));
}

}  // namespace

size_t Pooler::num_bytes(int hidden_size) {
  return Arena::padded(static_cast<size_t>(kRowsAtOnce) * static_cast<size_t>(hidden_size) * sizeof(float));
}

Result<Pooler> Pooler::create(Device& device, int hidden_size, int num_slots) {
  GALE_ASSIGN(Arena host, Arena::create(device, MemoryKind::kHostPinned, num_bytes(hidden_size)));
  return Pooler(device, std::move(host), num_slots);
}

void Pooler::add(Stream& stream, int slot, const Tensor& rows) {
  Sum& sum = sums_.at(static_cast<size_t>(slot));
  sum.values.resize(static_cast<size_t>(rows.shape[1]));
  for (int64_t begin = 0; begin < rows.shape[0]; begin += kRowsAtOnce) {
    const Tensor part = rows.slice(0, begin, std::min(begin + kRowsAtOnce, rows.shape[0]));
    CHECK(part.is_contiguous(), "hidden states with gaps: {}", part.describe());
    host_.reset();
    const Tensor host = host_.allocate(part.dtype, part.shape);
    device_->copy(stream, host.data, part.data, part.num_bytes());
    stream.synchronize();
    for (int64_t r = 0; r < host.shape[0]; ++r) {
      if (host.dtype == DType::kF32)
        add_row(sum.values, host.row<float>(r), [](float value) { return value; });
      else
        add_row(sum.values, host.row<uint16_t>(r), bf16_to_f32);
    }
  }
  sum.num_rows += rows.shape[0];
}

std::vector<float> Pooler::take(int slot) {
  const Sum sum = std::exchange(sums_.at(static_cast<size_t>(slot)), {});
  std::vector<float> out;
  out.reserve(sum.values.size());
  for (const double value : sum.values) out.push_back(static_cast<float>(value / static_cast<double>(sum.num_rows)));
  return out;
}

}  // namespace gale
