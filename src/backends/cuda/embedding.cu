// Row gathers: the embedding table and the hidden states of rows that need logits. One block a row; limited by memory.
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, class W>
__global__ void gather_kernel(T* out, int64_t out_stride, const W* table, int64_t table_stride, const int32_t* rows,
                              const int32_t* last_tokens, int size) {
  const int32_t given = rows[blockIdx.x];
  const W* from = table + (given >= 0 ? given : last_tokens[-1 - given]) * table_stride;
  T* to = out + blockIdx.x * out_stride;
  for (int i = threadIdx.x; i < size; i += blockDim.x) to[i] = from_float<T>(to_float(from[i]));
}

void gather(Stream& stream, const Tensor& out, const Tensor& table, const Tensor& rows, const Tensor& last_tokens) {
  with_float_type(out.dtype, [&](auto t) {
    with_float_type(table.dtype, [&](auto w) {
      using T = typename decltype(t)::type;
      using W = typename decltype(w)::type;
      launch(stream, gather_kernel<T, W>, dim3(rows.shape[0]), dim3(kThreads), 0, static_cast<T*>(out.data), out.strides[0],
             static_cast<const W*>(table.data), table.strides[0], rows.as<int32_t>(), static_cast<const int32_t*>(last_tokens.data), static_cast<int>(out.shape[1]));
    });
  });
}

void run_embedding(Stream& stream, const EmbeddingArgs& args) { gather(stream, args.out, args.table, args.ids, args.last_tokens); }
void run_gather_rows(Stream& stream, const GatherRowsArgs& args) { gather(stream, args.out, args.in, args.rows, {}); }

}  // namespace

const OpImpl<EmbeddingArgs> kEmbedding[1] = {{"embedding_sm80", supports_any, run_embedding}};
const OpImpl<GatherRowsArgs> kGatherRows[1] = {{"gather_rows_sm80", supports_any, run_gather_rows}};

}  // namespace gale::cuda
