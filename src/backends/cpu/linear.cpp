// Products with packed weights. A thread takes a run of panels and multiplies all tokens with it, eight at a time, so
// that weights come from memory once a step. Each output is summed over k in the order simd.inc fixes.
#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/packed_panels.h"

namespace gale {
namespace {

// out[t] = weight's matrix * in[t] for the outputs of units begin … end.
void multiply_piece(const PackedWeight& weight, int64_t matrix, int64_t begin, int64_t end, const Tensor& in,
                    const Tensor& out, const float* bias) {
  const int64_t row = begin * kPanelRows;
  PanelBlock block = panel_block(weight, matrix, begin, end);
  block.bias = bias == nullptr ? nullptr : bias + row;
  for (int64_t t = 0; t < in.shape[0]; ++t) {
    push_token(block, in.row<float>(t), out.row<float>(t) + row);
    if (block.num_tokens == kMaxBlockTokens) flush(block, weight.order);
  }
  flush(block, weight.order);
}

void multiply(Stream& stream, const PackedWeight& weight, const Tensor& in, const Tensor& out, const float* bias) {
  for_each_piece(stream, weight, in.shape[0], [&](int64_t matrix, int64_t begin, int64_t end) {
    multiply_piece(weight, matrix, begin, end, in, out, bias);
  });
}

}  // namespace

void cpu_linear(Stream& stream, const LinearArgs& args) {
  multiply(stream, *args.weight, args.in, args.out, args.bias.is_empty() ? nullptr : args.bias.as<float>());
}

void cpu_linear_swiglu(Stream& stream, const LinearSwigluArgs& args) {
  multiply(stream, *args.weight, args.in, args.out, nullptr);   // gate and up meet in registers: no scratch
}

void cpu_head_linear(Stream& stream, const HeadLinearArgs& args) {
  const PackedWeight& weight = *args.weight;
  const Tensor in = args.in.transposed(0, 1), out = args.out.transposed(0, 1);   // [heads, T, …]
  for_each_piece(stream, weight, in.shape[1], [&](int64_t head, int64_t begin, int64_t end) {
    multiply_piece(weight, head, begin, end, in[head], out[head], nullptr);
  });
}

}  // namespace gale
