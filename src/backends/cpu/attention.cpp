#include <algorithm>

#include "backends/cpu/attend.h"
#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/norm_row.h"
#include "backends/cpu/rope.h"

namespace gale {
namespace {

// out = rope(norm(in + bias)), one head; norm and bias may be absent.
struct HeadPrologue {
  const Rope& rope;
  const Rope::Angles& angles;
  float eps;
  int64_t head_dim;
  void operator()(float* out, const float* in, const float* bias, const Tensor& norm) const {
    std::copy_n(in, head_dim, out);
    if (bias != nullptr) cpu_kernels().add(out, bias, head_dim);
    if (!norm.is_empty()) norm_row(out, out, norm.as<float>(), eps, head_dim);
    rope.rotate(out, out, head_dim, angles);
  }
};

constexpr int64_t kMaxHeadDim = 1024;

// The place of a slot's head in a cache [num_blocks, num_kv_heads, block_size, head_dim].
std::byte* cache_row(const Tensor& cache, int64_t slot, int64_t head) {
  const int64_t block_size = cache.shape[2];
  CHECK(slot / block_size < cache.shape[0], "slot {} of {} blocks", slot, cache.shape[0]);
  const int64_t offset =
      slot / block_size * cache.strides[0] + head * cache.strides[1] + slot % block_size * cache.strides[2];
  return static_cast<std::byte*>(cache.data) + offset * static_cast<int64_t>(size_of(cache.dtype));
}

void write_token(const QkvRopeWriteArgs& args, const Rope& rope, int64_t t) {
  const int64_t num_heads = args.q_out.shape[1], num_kv_heads = args.k_cache.shape[1], head_dim = args.q_out.shape[2];
  Rope::Angles angles;
  rope.angles_of(angles, args.metadata->positions, t);
  const HeadPrologue prologue{rope, angles, args.norm_eps, head_dim};
  const float* in = args.qkv.row<float>(t);
  const float* bias = args.bias.is_empty() ? nullptr : args.bias.as<float>();
  const auto bias_of = [bias, head_dim](int64_t head) { return bias == nullptr ? nullptr : bias + head * head_dim; };
  for (int64_t head = 0; head < num_heads; ++head) {
    prologue(args.q_out.row<float>(t) + head * args.q_out.strides[1], in + head * head_dim, bias_of(head), args.q_norm);
  }
  const int64_t slot = args.metadata->slot_mapping.row<int64_t>(t)[0];
  if (slot < 0) return;
  for (int64_t head = 0; head < num_kv_heads; ++head) {
    float row[kMaxHeadDim];
    const int64_t k = num_heads + head, v = k + num_kv_heads;
    prologue(row, in + k * head_dim, bias_of(k), args.k_norm);
    cpu_kernels().narrow(cache_row(args.k_cache, slot, head), args.k_cache.dtype, row, head_dim);
    std::copy_n(in + v * head_dim, head_dim, row);
    if (bias != nullptr) cpu_kernels().add(row, bias_of(v), head_dim);
    cpu_kernels().narrow(cache_row(args.v_cache, slot, head), args.v_cache.dtype, row, head_dim);
  }
}

}  // namespace

void cpu_qkv_rope_write(Stream& stream, const QkvRopeWriteArgs& args) {
  CHECK(args.q_out.shape[2] <= kMaxHeadDim, "heads of {}, at most {}", args.q_out.shape[2], kMaxHeadDim);
  const Rope rope(args.rope);
  for_each_row(stream, args.qkv.shape[0], 8 * args.qkv.shape[1], [&](int64_t t) { write_token(args, rope, t); });
}

// The query heads of a group look at the same keys, so they are taken together.
void cpu_paged_attention(Stream& stream, const PagedAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const int64_t num_heads = args.q.shape[1], head_dim = args.q.shape[2], group = num_heads / args.k_cache.shape[1];
  const int64_t num_tokens = args.q.shape[0];
  const int64_t run = std::min(group, attend_rows_for(num_tokens * num_heads, pool_of(stream).num_threads()));
  const int64_t runs_in_group = (group + run - 1) / run, runs_in_token = runs_in_group * args.k_cache.shape[1];
  const int64_t cost = run * 2 * head_dim * std::max(1, metadata.max_seq_len);
  for_each_row(stream, num_tokens * runs_in_token, cost, [&](int64_t item) {
    const int64_t t = item / runs_in_token, kv_head = item % runs_in_token / runs_in_group;
    const int64_t first = item % runs_in_group * run, end = std::min(group, first + run);
    const TokenPlace place = place_of(metadata, t);
    AttendRow rows[kMaxQueryRows];
    for (int64_t in_group = first; in_group < end; ++in_group) {
      const int64_t head = kv_head * group + in_group;
      rows[in_group - first] = {.query = args.q.row<float>(t) + head * args.q.strides[1],
                                .out = args.out.row<float>(t) + head * args.out.strides[1],
                                .num_keys = place.num_keys};
    }
    const int64_t at = kv_head * args.k_cache.strides[1] * static_cast<int64_t>(size_of(args.k_cache.dtype));
    const PagedKeys keys{.dtype = args.k_cache.dtype,
                         .keys = static_cast<const std::byte*>(args.k_cache.data) + at,
                         .values = static_cast<const std::byte*>(args.v_cache.data) + at,
                         .block_stride = args.k_cache.strides[0],
                         .token_stride = args.k_cache.strides[2],
                         .block_size = metadata.block_size,
                         .block_table = metadata.block_tables.row<int32_t>(place.sequence)};
    attend({rows, static_cast<size_t>(end - first)}, head_dim, head_dim, args.scale, keys);
  });
}

}  // namespace gale
