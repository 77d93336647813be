#include <algorithm>

#include "backends/cpu/attend.h"
#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/norm_row.h"
#include "backends/cpu/rope.h"

namespace gale {
namespace {

constexpr int64_t kMaxWidth = 2048;   // latent and rope key of a token

void write_token(const MlaWriteArgs& args, const Rope& rope, int64_t t) {
  const int64_t q_rank = args.q_norm.shape[0], kv_rank = args.kv_norm.shape[0], width = args.cache.shape[2];
  const float* in = args.qkv_a.row<float>(t);
  norm_row(args.q_latent.row<float>(t), in, args.q_norm.as<float>(), args.norm_eps, q_rank);
  const int64_t slot = args.metadata->slot_mapping.row<int64_t>(t)[0];
  if (slot < 0) return;
  CHECK(slot < args.cache.shape[0] * args.cache.shape[1], "slot {} of a cache {}", slot, args.cache.describe());
  float row[kMaxWidth];
  norm_row(row, in + q_rank, args.kv_norm.as<float>(), args.norm_eps, kv_rank);
  Rope::Angles angles;
  rope.angles_of(angles, args.metadata->positions, t);
  rope.rotate(row + kv_rank, in + q_rank + kv_rank, width - kv_rank, angles);
  auto* cache =
      static_cast<std::byte*>(args.cache.data) + slot * width * static_cast<int64_t>(size_of(args.cache.dtype));
  cpu_kernels().narrow(cache, args.cache.dtype, row, width);
}

}  // namespace

void cpu_mla_write(Stream& stream, const MlaWriteArgs& args) {
  CHECK(args.cache.shape[2] <= kMaxWidth, "{} elements a token, at most {}", args.cache.shape[2], kMaxWidth);
  const Rope rope(args.rope);
  for_each_row(stream, args.qkv_a.shape[0], 8 * args.qkv_a.shape[1], [&](int64_t t) { write_token(args, rope, t); });
}

void cpu_mla_query_rope(Stream& stream, const MlaQueryRopeArgs& args) {
  const Rope rope(args.rope);
  const int64_t num_heads = args.in.shape[1], width = args.in.shape[2];
  for_each_row(stream, args.in.shape[0], (num_heads + 16) * width, [&](int64_t t) {
    Rope::Angles angles;
    rope.angles_of(angles, args.metadata->positions, t);
    for (int64_t head = 0; head < num_heads; ++head) {
      rope.rotate(args.out.row<float>(t) + head * args.out.strides[1],
                  args.in.row<float>(t) + head * args.in.strides[1], width, angles);
    }
  });
}

// All heads of a sequence's tokens look at the same keys, so rows are taken in runs of neighbours.
void cpu_mla_attention(Stream& stream, const MlaAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const int64_t num_heads = args.q.shape[1], width = args.q.shape[2], latent = args.out.shape[2];
  const int64_t num_rows = args.q.shape[0] * num_heads;
  const int64_t run = attend_rows_for(num_rows, pool_of(stream).num_threads());
  const int64_t cost = run * (width + latent) * std::max(1, metadata.max_seq_len);
  const auto* cache = static_cast<const std::byte*>(args.cache.data);
  const auto attend_all = [&](std::span<const AttendRow> rows, int sequence) {
    if (rows.empty()) return;
    const PagedKeys keys{.dtype = args.cache.dtype,
                         .keys = cache,
                         .values = cache,
                         .block_stride = args.cache.strides[0],
                         .token_stride = width,
                         .block_size = metadata.block_size,
                         .block_table = metadata.block_tables.row<int32_t>(sequence)};
    attend(rows, latent, width, args.scale, keys);
  };
  for_each_row(stream, (num_rows + run - 1) / run, cost, [&](int64_t item) {
    AttendRow rows[kMaxQueryRows];
    size_t count = 0;
    int sequence = 0;
    for (int64_t row = item * run; row < std::min(num_rows, (item + 1) * run); ++row) {
      const int64_t t = row / num_heads, head = row % num_heads;
      const TokenPlace place = place_of(metadata, t);
      if (place.sequence != sequence) {
        attend_all({rows, count}, sequence);
        count = 0;
        sequence = place.sequence;
      }
      rows[count++] = {.query = args.q.row<float>(t) + head * args.q.strides[1],
                       .out = args.out.row<float>(t) + head * args.out.strides[1],
                       .num_keys = place.num_keys};
    }
    attend_all({rows, count}, sequence);
  });
}

}  // namespace gale
