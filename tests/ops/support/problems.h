#pragma once

#include "support/harness.h"

namespace gale {

// Each problem: seeded inputs, a run of rows begin … end - 1 on a backend, and a reference in double precision. The
// *_cases.cpp compare the two over sizes; the test of equal bits runs parts of the rows.

struct NormProblem {
  enum class Kind { kPlain, kAdd, kSandwich };
  Kind kind;
  int64_t num_tokens, width;
  Values in, residual, weight, post_weight;
  bool is_quantized = false;    // the normed rows come out as e4m3, too
  static constexpr float kEps = 1e-5f;

  NormProblem(Kind kind, int64_t num_tokens, int64_t width, DType dtype);
  // out, then residual and quantised out if it has them
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values reference() const;
};

struct LinearProblem {
  enum class Kind { kPlain, kBias, kSwiglu };
  Kind kind;
  int64_t num_tokens;
  std::vector<int64_t> source_rows;
  int64_t num_cols;
  DType weight_dtype;
  WeightFormat format;
  DType out_dtype;              // f8e4m3: the SwiGLU comes out quantised
  int64_t num_rows = 0;
  Values in, weight, bias;

  LinearProblem(Kind kind, int64_t num_tokens, std::vector<int64_t> source_rows, int64_t num_cols, DType weight_dtype,
                DType dtype, WeightFormat format = WeightFormat::kAsIs);
  [[nodiscard]] int64_t width() const { return kind == Kind::kSwiglu ? num_rows / 2 : num_rows; }
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values reference() const;
};

struct HeadLinearProblem {
  int64_t num_tokens, num_heads, num_rows, num_cols;
  Values in, weight;

  HeadLinearProblem(int64_t num_tokens, int64_t num_heads, int64_t num_rows, int64_t num_cols, DType dtype);
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;   // in and out are slices of wider rows
  [[nodiscard]] Values reference() const;
};

// Sequences in a shuffled paged cache. Queries are the last query_lens[s] tokens of seq_lens[s].
struct PagedBatch {
  std::vector<int64_t> seq_lens, query_lens;
  int64_t block_size, max_blocks = 0, num_blocks = 0, num_tokens = 0;
  std::vector<int> block_tables, starts;
  std::vector<int64_t> slots;            // of each query token
  std::vector<int> positions;            // [3, T], unequal on purpose

  PagedBatch(std::vector<int64_t> seq_lens, std::vector<int64_t> query_lens, int64_t block_size);
  [[nodiscard]] int64_t slot_of(int64_t sequence, int64_t position) const;
  struct Token { int64_t sequence, num_keys; };
  [[nodiscard]] Token token(int64_t index) const;
  // Metadata of a step that holds the query tokens begin … end - 1 only, as a chunked or smaller step would.
  [[nodiscard]] AttentionMetadata metadata(Harness& harness, int64_t begin, int64_t end) const;
};

struct AttentionProblem {
  PagedBatch batch;
  int64_t num_heads, num_kv_heads, key_size, value_size;   // num_kv_heads 0: MLA, values are the first part of keys
  DType cache_dtype;
  Values q, k_cache, v_cache;
  float scale;
  bool has_room_for_prompts = false;   // MLA: in the workspace

  AttentionProblem(PagedBatch batch, int64_t num_heads, int64_t num_kv_heads, int64_t key_size, int64_t value_size,
                   DType cache_dtype, DType dtype);
  [[nodiscard]] bool is_mla() const { return num_kv_heads == 0; }
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values reference() const;

 private:
  [[nodiscard]] size_t cache_offset(int64_t slot, int64_t kv_head) const;
};

// qkv_rope_write, mla_write and mla_query_rope: outputs are q rows, then what each token wrote into the cache.
struct WriteProblem {
  enum class Kind { kQkv, kQkvBiasNorm, kMla, kMlaQuery };
  struct Sizes { int64_t head_dim = 40, q_rank = 48, kv_rank = 32; int rotary_dim = 24; };   // odd ones; or a model's
  Kind kind;
  PagedBatch batch;
  int64_t num_heads, num_kv_heads, head_dim, q_rank, kv_rank;
  RopeParams rope;
  DType cache_dtype;
  Values in, bias, q_norm, k_norm;
  static constexpr float kEps = 1e-5f;

  WriteProblem(Kind kind, PagedBatch batch, RopePairing pairing, DType cache_dtype, DType dtype, const Sizes& sizes);
  [[nodiscard]] int64_t in_width() const;
  [[nodiscard]] int64_t row_width() const;   // of an output row: q and what goes into the cache
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values reference() const;

 private:
  [[nodiscard]] Values run_qkv(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values run_mla(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values run_mla_query(Harness& harness, int64_t begin, int64_t end) const;
  void rotate(double* head, int64_t token) const;
};

struct RouteProblem {
  int64_t num_tokens, num_experts, width, num_chosen;
  int num_groups, top_k_groups;
  bool has_shared, renormalize;
  Values in, gate, bias;

  [[nodiscard]] static RouteProblem make(int64_t num_tokens, int64_t num_experts, int num_groups, bool has_shared,
                                         DType dtype, int64_t width = 72);
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;   // ids, then weights of each token
  [[nodiscard]] Values reference() const;
};

struct ExpertsProblem {
  enum class Part { kUp, kDown };
  Part part;
  WeightFormat format;
  DType out_dtype;              // of kUp; f8e4m3: quantised
  int64_t num_tokens, num_experts, num_chosen, hidden, inner;
  std::vector<int> ids;
  Values in, weight, expert_weights;

  ExpertsProblem(Part part, int64_t num_tokens, int64_t num_experts, int64_t num_chosen, int64_t hidden, int64_t inner,
                 std::vector<int> ids, DType dtype, WeightFormat format = WeightFormat::kAsIs);
  [[nodiscard]] int64_t row_width() const { return part == Part::kUp ? num_chosen * inner : hidden; }
  [[nodiscard]] Values run(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values reference() const;

 private:
  [[nodiscard]] Values run_up(Harness& harness, int64_t begin, int64_t end) const;
  [[nodiscard]] Values run_down(Harness& harness, int64_t begin, int64_t end) const;
};

// Matrix times vector in double: out[n] = sum_k weight[n, k] * in[k].
[[nodiscard]] Values product(const double* weight, const double* in, int64_t num_rows, int64_t num_cols);
[[nodiscard]] Values norm_reference(const double* x, const Values& weight, double eps);
[[nodiscard]] double silu(double x);

}  // namespace gale
