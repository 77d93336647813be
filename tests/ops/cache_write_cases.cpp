#include <algorithm>
#include <cmath>
#include <utility>

#include "support/problems.h"

namespace gale {
namespace {

constexpr WriteProblem::Sizes kOdd{}, kModel{.head_dim = 128, .q_rank = 768, .kv_rank = 512, .rotary_dim = 64};

bool is_qkv(WriteProblem::Kind kind) {
  return kind == WriteProblem::Kind::kQkv || kind == WriteProblem::Kind::kQkvBiasNorm;
}

}  // namespace

WriteProblem::WriteProblem(Kind kind, PagedBatch pages, RopePairing pairing, DType cache_dtype, DType dtype,
                           const Sizes& sizes)
    : kind(kind),
      batch(std::move(pages)),
      num_heads(5),
      num_kv_heads(2),
      head_dim(is_qkv(kind) ? sizes.head_dim : sizes.rotary_dim),
      q_rank(sizes.q_rank),
      kv_rank(sizes.kv_rank),
      rope{pairing, sizes.rotary_dim, 10000.0, {}},
      cache_dtype(cache_dtype) {
  const int pairs = sizes.rotary_dim / 2;
  rope.sections = {pairs - pairs / 3 - pairs / 4, pairs / 3, pairs / 4};
  in = random_values(batch.num_tokens * in_width(), 41, dtype);
  bias = random_values(in_width(), 42, dtype);
  q_norm = random_values(is_qkv(kind) ? head_dim : q_rank, 43, dtype);
  k_norm = random_values(is_qkv(kind) ? head_dim : kv_rank, 44, dtype);
}

int64_t WriteProblem::in_width() const {
  switch (kind) {
    case Kind::kMla: return q_rank + kv_rank + rope.rotary_dim;
    case Kind::kMlaQuery: return num_heads * (head_dim + 8);   // the rope part lies behind 8 others
    default: return (num_heads + 2 * num_kv_heads) * head_dim;
  }
}

int64_t WriteProblem::row_width() const { return kind == Kind::kMlaQuery ? num_heads * head_dim : in_width(); }

Values WriteProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  if (kind == Kind::kMla) return run_mla(harness, begin, end);
  return kind == Kind::kMlaQuery ? run_mla_query(harness, begin, end) : run_qkv(harness, begin, end);
}

Values WriteProblem::run_qkv(Harness& harness, int64_t begin, int64_t end) const {
  const AttentionMetadata metadata = batch.metadata(harness, begin, end);
  const Shape cache{batch.num_blocks, num_kv_heads, batch.block_size, head_dim};
  const Tensor q = harness.output({end - begin, num_heads, head_dim});
  const Tensor k = harness.output(cache, cache_dtype), v = harness.output(cache, cache_dtype);
  const bool has_extras = kind == Kind::kQkvBiasNorm;
  harness.call<QkvRopeWriteArgs>(
      qkv_rope_write, &OpTable::qkv_rope_write,
      {.q_out = q, .qkv = harness.activations(slice_of(in, begin, end, in_width()), {end - begin, in_width()}),
       .bias = has_extras ? harness.activations(bias, {in_width()}) : Tensor{},
       .q_norm = has_extras ? harness.activations(q_norm, {head_dim}) : Tensor{},
       .k_norm = has_extras ? harness.activations(k_norm, {head_dim}) : Tensor{},
       .norm_eps = kEps, .k_cache = k, .v_cache = v, .metadata = &metadata, .rope = rope});
  const Values queries = harness.get(q), keys = harness.get(k), values = harness.get(v);
  Values rows;
  for (int64_t t = begin; t < end; ++t) {
    const auto query = queries.begin() + (t - begin) * num_heads * head_dim;
    rows.insert(rows.end(), query, query + num_heads * head_dim);
    const int64_t slot = batch.slots[static_cast<size_t>(t)];
    for (const Values* part : {&keys, &values}) {
      for (int64_t head = 0; head < num_kv_heads; ++head) {
        const int64_t block = slot / batch.block_size, offset = slot % batch.block_size;
        const auto row = part->begin() + ((block * num_kv_heads + head) * batch.block_size + offset) * head_dim;
        rows.insert(rows.end(), row, row + head_dim);
      }
    }
  }
  return rows;
}

Values WriteProblem::run_mla(Harness& harness, int64_t begin, int64_t end) const {
  const AttentionMetadata metadata = batch.metadata(harness, begin, end);
  const int64_t width = kv_rank + rope.rotary_dim;
  const Tensor q = harness.output({end - begin, q_rank});
  const Tensor cache = harness.output({batch.num_blocks, batch.block_size, width}, cache_dtype);
  harness.call<MlaWriteArgs>(
      mla_write, &OpTable::mla_write,
      {.q_latent = q,
       .qkv_a = harness.activations(slice_of(in, begin, end, in_width()), {end - begin, in_width()}),
       .q_norm = harness.activations(q_norm, {q_rank}),
       .kv_norm = harness.activations(k_norm, {kv_rank}),
       .norm_eps = kEps,
       .cache = cache,
       .metadata = &metadata,
       .rope = rope});
  const Values latents = harness.get(q), keys = harness.get(cache);
  Values rows;
  for (int64_t t = begin; t < end; ++t) {
    rows.insert(rows.end(), latents.begin() + (t - begin) * q_rank, latents.begin() + (t - begin + 1) * q_rank);
    const auto row = keys.begin() + batch.slots[static_cast<size_t>(t)] * width;
    rows.insert(rows.end(), row, row + width);
  }
  return rows;
}

Values WriteProblem::run_mla_query(Harness& harness, int64_t begin, int64_t end) const {
  const AttentionMetadata metadata = batch.metadata(harness, begin, end);
  const Tensor wide = harness.activations(slice_of(in, begin, end, in_width()), {end - begin, num_heads, head_dim + 8});
  const Tensor out = harness.output({end - begin, num_heads, head_dim});
  harness.call<MlaQueryRopeArgs>(
      mla_query_rope, &OpTable::mla_query_rope,
      {.out = out, .in = wide.slice(2, 8, head_dim + 8), .metadata = &metadata, .rope = rope});
  return harness.get(out);
}

void WriteProblem::rotate(double* head, int64_t token) const {
  for (int j = 0; j < rope.rotary_dim / 2; ++j) {
    const int axis = j < rope.sections[0] ? 0 : j < rope.sections[0] + rope.sections[1] ? 1 : 2;
    const double angle = batch.positions[static_cast<size_t>(axis * batch.num_tokens + token)] *
                         std::pow(rope.theta, -2.0 * j / rope.rotary_dim);
    const bool is_interleaved = rope.pairing == RopePairing::kInterleaved;
    double& a = head[is_interleaved ? 2 * j : j];
    double& b = head[is_interleaved ? 2 * j + 1 : j + rope.rotary_dim / 2];
    const double x = a, y = b;
    a = x * std::cos(angle) - y * std::sin(angle);
    b = y * std::cos(angle) + x * std::sin(angle);
  }
}

Values WriteProblem::reference() const {
  Values rows;
  for (int64_t t = 0; t < batch.num_tokens; ++t) {
    Values row(in.begin() + t * in_width(), in.begin() + (t + 1) * in_width());
    if (kind == Kind::kMla) {
      const Values q = norm_reference(row.data(), q_norm, kEps),
                   latent = norm_reference(row.data() + q_rank, k_norm, kEps);
      std::copy(q.begin(), q.end(), row.begin());
      std::copy(latent.begin(), latent.end(), row.begin() + q_rank);
      rotate(row.data() + q_rank + kv_rank, t);
    } else if (kind == Kind::kMlaQuery) {
      Values rotated;
      for (int64_t head = 0; head < num_heads; ++head) {
        double* part = row.data() + head * (head_dim + 8) + 8;
        rotate(part, t);
        rotated.insert(rotated.end(), part, part + head_dim);
      }
      row = rotated;
    } else {
      for (size_t i = 0; i < row.size() && kind == Kind::kQkvBiasNorm; ++i) row[i] += bias[i];
      for (int64_t head = 0; head < num_heads + num_kv_heads; ++head) {
        double* part = row.data() + head * head_dim;
        if (kind == Kind::kQkvBiasNorm) {
          const Values normed = norm_reference(part, head < num_heads ? q_norm : k_norm, kEps);
          std::copy(normed.begin(), normed.end(), part);
        }
        rotate(part, t);
      }
    }
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

namespace {

void expect_write(Harness& harness, WriteProblem::Kind kind, const WriteProblem::Sizes& sizes) {
  const bool is_cpu = harness.activation() == DType::kF32;
  for (const RopePairing pairing : {RopePairing::kInterleaved, RopePairing::kHalfSplit}) {
    for (const DType cache_dtype : {DType::kF32, DType::kBF16, DType::kF8E4M3}) {
      if (cache_dtype == (is_cpu ? DType::kF8E4M3 : DType::kF32))
        continue;  // f32 caches are the CPU's, FP8 caches CUDA's
      const WriteProblem problem(kind, {{49, 1, 16, 33}, {17, 1, 16, 2}, 16}, pairing, cache_dtype,
                                 harness.activation(), sizes);
      const DType coarser =
          cache_dtype == DType::kF32 || kind == WriteProblem::Kind::kMlaQuery ? harness.activation() : cache_dtype;
      expect_close(problem.run(harness, 0, problem.batch.num_tokens), problem.reference(), problem.row_width(),
                   coarser);
      EXPECT_TRUE(problem.run(harness, 0, 0).empty());
    }
  }
}

TEST(QkvRopeWrite, rotates_and_writes) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::qkv_rope_write, [&] {
    for (const auto& sizes : {kOdd, kModel}) {
      expect_write(*harness, WriteProblem::Kind::kQkv, sizes);
      expect_write(*harness, WriteProblem::Kind::kQkvBiasNorm, sizes);
    }
  });
}
TEST(MlaWrite, norms_rotates_and_writes) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::mla_write, [&] {
    for (const auto& sizes : {kOdd, kModel}) expect_write(*harness, WriteProblem::Kind::kMla, sizes);
  });
}
TEST(MlaQueryRope, rotates_slices) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::mla_query_rope, [&] {
    for (const auto& sizes : {kOdd, kModel}) expect_write(*harness, WriteProblem::Kind::kMlaQuery, sizes);
  });
}

TEST(CacheWrite, saturates_fp8) {
  const auto harness = make_harness();
  if (harness->activation() == DType::kF32) GTEST_SKIP() << "the CPU has no FP8 caches";
  harness->for_each_variant(&OpTable::qkv_rope_write, [&] {
    WriteProblem problem(WriteProblem::Kind::kQkv, {{20}, {3}, 16}, RopePairing::kInterleaved, DType::kF8E4M3,
                         harness->activation(), kModel);
    for (double& x : problem.in) x *= 1024;
    Values want = problem.reference();
    const int64_t width = problem.row_width(), query = problem.num_heads * problem.head_dim;
    for (size_t i = 0; i < want.size(); ++i) {
      if (static_cast<int64_t>(i) % width >= query) want[i] = std::clamp(want[i], -448.0, 448.0);
    }
    const Values got = problem.run(*harness, 0, 3);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], std::abs(want[i]) / 8 + 8) << i;
  });
}

TEST(CacheWrite, leaves_the_cache_alone_for_padded_rows) {
  const auto harness = make_harness();
  for (const auto kind : {WriteProblem::Kind::kQkv, WriteProblem::Kind::kMla}) {
    WriteProblem problem(kind, {{20}, {3}, 16}, RopePairing::kInterleaved, DType::kBF16, harness->activation(), kOdd);
    const auto before = problem.batch.slots;
    problem.batch.slots[1] = -1;
    const AttentionMetadata metadata = problem.batch.metadata(*harness, 0, 3);
    problem.batch.slots = before;
    const int64_t width = kind == WriteProblem::Kind::kQkv ? 80 : 56;
    const Tensor cache =
        harness->output(kind == WriteProblem::Kind::kQkv ? Shape{3, 2, 16, 40} : Shape{3, 16, 56}, DType::kBF16);
    const Tensor in = harness->activations(problem.in, {3, problem.in_width()});
    if (kind == WriteProblem::Kind::kQkv) {
      harness->call<QkvRopeWriteArgs>(qkv_rope_write, &OpTable::qkv_rope_write,
                                      {.q_out = harness->output({3, 5, 40}),
                                       .qkv = in,
                                       .bias = {},
                                       .q_norm = {},
                                       .k_norm = {},
                                       .k_cache = cache,
                                       .v_cache = cache,
                                       .metadata = &metadata,
                                       .rope = problem.rope});
    } else {
      harness->call<MlaWriteArgs>(mla_write, &OpTable::mla_write,
                                  {.q_latent = harness->output({3, 48}),
                                   .qkv_a = in,
                                   .q_norm = harness->activations(problem.q_norm, {48}),
                                   .kv_norm = harness->activations(problem.k_norm, {32}),
                                   .norm_eps = 1e-5f,
                                   .cache = cache,
                                   .metadata = &metadata,
                                   .rope = problem.rope});
    }
    const Values after = harness->get(cache);
    const double untouched = harness->get(harness->output({1}, DType::kBF16))[0];
    const auto num_touched = std::count_if(after.begin(), after.end(), [&](double x) { return x != untouched; });
    EXPECT_EQ(num_touched, 2 * width);
  }
}

}  // namespace
}  // namespace gale
