// Speed of the CPU's products: GB/s of weights and GFLOP/s for 1, 4 and 16 tokens.   ops_bench [threads]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "backends/cpu/cpu_backend.h"

namespace gale {
namespace {

// Best of several runs, in seconds.
template <class Body>
double seconds(Body body) {
  double best = 1e9;
  for (int round = 0; round < 30; ++round) {
    const auto start = std::chrono::steady_clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

Arena arena_of(Device& device, size_t num_bytes) {
  auto arena = Arena::create(device, MemoryKind::kDevice, num_bytes);
  CHECK(arena, "{}", arena.error().message);
  return std::move(*arena);
}

void measure_linear(Device& device, OpContext& context, int64_t num_rows, int64_t num_cols) {
  const PackShape shape{1, num_rows, num_cols, DType::kBF16, RowOrder::kPlain};
  Arena weights = arena_of(device, packed_linear_bytes(context, shape));
  Arena work = arena_of(
      device, static_cast<size_t>(num_rows * num_cols) * 2 + static_cast<size_t>(num_rows + num_cols) * 16 * 4 + 4096);
  const Tensor source = work.allocate(DType::kBF16, {num_rows, num_cols});
  std::fill_n(source.as<uint16_t>(), source.num_elements(), uint16_t{0x3c00});
  PackedWeight packed;
  pack_linear(context, weights,
              {.out = &packed, .sources = {&source, 1}, .num_matrices = 1, .order = RowOrder::kPlain});
  const Tensor in = work.allocate(DType::kF32, {16, num_cols}), out = work.allocate(DType::kF32, {16, num_rows});
  std::fill_n(in.as<float>(), in.num_elements(), 0.5f);
  for (const int64_t num_tokens : {1, 4, 16}) {
    const double time = seconds([&] {
      linear(context,
             {.out = out.slice(0, 0, num_tokens), .in = in.slice(0, 0, num_tokens), .weight = &packed, .bias = {}});
    });
    const double products = static_cast<double>(num_rows * num_cols);
    fmt::print("linear [{}, {}] bf16, {:2} tokens: {:8.1f} us, {:6.1f} GB/s, {:6.1f} GFLOP/s\n", num_rows, num_cols,
               num_tokens, time * 1e6, products * 2 / time * 1e-9,
               products * 2 * static_cast<double>(num_tokens) / time * 1e-9);
  }
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  const auto device = gale::make_cpu_device(argc > 1 ? std::atoi(argv[1]) : 0);
  const auto stream = device->make_stream();
  gale::OpContext context{*stream, gale::cpu_op_table(), device->caps()};
  fmt::print("{}\n", device->caps().name);
  for (const auto& [rows, cols] :
       {std::pair{256, 512}, std::pair{768, 256}, std::pair{8192, 256}, std::pair{8192, 2048}}) {
    gale::measure_linear(*device, context, rows, cols);
  }
}
