#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/kernels.h"

namespace gale {

void cpu_embedding(Stream& stream, const EmbeddingArgs& args) {
  const int64_t vocabulary = args.table.shape[0], width = args.table.shape[1];
  const auto row_bytes = args.table.strides[0] * static_cast<int64_t>(size_of(args.table.dtype));
  for_each_row(stream, args.ids.shape[0], width, [&](int64_t t) {
    const int32_t given = args.ids.row<int32_t>(t)[0];
    const int32_t id = given >= 0 ? given : args.last_tokens.row<int32_t>(-1 - given)[0];
    CHECK(id >= 0 && id < vocabulary, "token {} has id {} of {}", t, id, vocabulary);
    cpu_kernels().widen(args.out.row<float>(t), static_cast<const std::byte*>(args.table.data) + id * row_bytes,
                        args.table.dtype, width);
  });
}

void cpu_gather_rows(Stream& stream, const GatherRowsArgs& args) {
  const int64_t num_rows = args.in.shape[0], width = args.in.shape[1];
  for_each_row(stream, args.rows.shape[0], width, [&](int64_t r) {
    const int32_t row = args.rows.row<int32_t>(r)[0];
    CHECK(row >= 0 && row < num_rows, "entry {} wants row {} of {}", r, row, num_rows);
    cpu_kernels().narrow(args.out.row<float>(r), DType::kF32, args.in.row<float>(row), width);
  });
}

}  // namespace gale
