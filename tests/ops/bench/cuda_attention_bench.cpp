// Speed of CUDA attention: microseconds and the share of what the card could do, each shape checked against the
// implementation for any shape first.
//   cuda_attention_bench [decode|gqa|mla|prefill|write …] [--case TEXT] [--rotate-gib N]
// (default: decode, which is gqa and mla, prefill, write; --case: those whose name contains TEXT)
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/stream.h"
#include "ops/dispatch.h"
#include "tensor/convert.h"

namespace gale {
namespace {

constexpr double kBytesPerSecond = 3.0e12, kFlopsPerSecond = 680e12;   // copy and sustained bf16 ceilings of an H100
constexpr int kBlockSize = 64;
// Caches of answers that are touched in turn: past L2, and with --rotate-gib past what translates addresses, as in a
// server, whose step reads all weights between two looks at a layer's cache.
double rotated_bytes = 0.4 * (1 << 30);
int max_copies = 24;

struct Case {
  std::string name;
  bool is_mla;
  int heads, kv_heads, seqs, length, queries;   // queries: of each sequence
  DType cache;
  int shortest = 0;   // lengths from here to `length`, as answers have them that began at other times; 0: all alike
  [[nodiscard]] int key_dim() const { return is_mla ? 576 : 128; }
  [[nodiscard]] int value_dim() const { return is_mla ? 512 : 128; }
  [[nodiscard]] std::vector<int> lengths() const {
    std::vector<int> all(static_cast<size_t>(seqs), length);
    if (shortest == 0) return all;
    for (int s = 0; s < seqs; ++s)
      all[static_cast<size_t>(s)] = shortest + (length - shortest) * (s * 37 % seqs) / std::max(1, seqs - 1);
    return all;
  }
  // Of a query and a key that it sees.
  [[nodiscard]] double pairs() const {
    double sum = 0;
    for (const int own : lengths())
      sum += static_cast<double>(own - queries) * queries + 0.5 * queries * (queries + 1.0);
    return sum;
  }
};

class Bench {
 public:
  Bench(Device& device, Stream& stream) : device_(device), stream_(stream), full_(cuda_op_table()) {}
  // Returns false if the result is wrong.
  bool run(const Case& c);
  bool run_mla_prefill(const Case& c);
  void run_writes(int num_tokens, DType cache);

 private:
  Tensor allocate(DType dtype, const Shape& shape) {
    auto buffer = device_.allocate(MemoryKind::kDevice, static_cast<size_t>(shape.num_elements()) * size_of(dtype));
    CHECK(buffer, "{}", buffer.error().message);
    buffers_.push_back(std::move(*buffer));
    return Tensor::contiguous(buffers_.back()->data(), dtype, shape);
  }
  Tensor random(DType dtype, const Shape& shape);
  template <class T>
  Tensor put(DType dtype, const std::vector<T>& values, const Shape& shape) {
    const Tensor tensor = allocate(dtype, shape);
    device_.copy(stream_, tensor.data, values.data(), values.size() * sizeof(T));
    stream_.synchronize();
    return tensor;
  }
  // For check and report: how far from `want` the rows are.
  static double error_of(const std::vector<float>& got, const std::vector<float>& want);
  static bool report(const Case& c, double us, double cache_bytes, double flops, double error);
  PackedWeight pack(int64_t heads, int64_t rows, int64_t cols);
  AttentionMetadata metadata(const Case& c, int queries);
  void attend(const Case& c, const OpTable& table, const AttentionMetadata& metadata, const Tensor& out,
              const Tensor& q, const Tensor& k, const Tensor& v);
  template <class Body>
  double microseconds(int num_calls, Body body);
  std::vector<float> fetch(const Tensor& tensor);

  Device& device_;
  Stream& stream_;
  OpTable full_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Arena> weights_;
  std::vector<PromptChunk> chunks_;
  std::mt19937 random_{7};
};

// Random magnitudes 0.5 … 2 of either sign, made once: tensors take stretches of it.
const std::vector<uint8_t>& pattern(DType dtype) {
  static const auto kMake = [](bool is_fp8) {
    std::vector<uint8_t> bytes(size_t{33} << 20);
    std::mt19937 random(7);
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto x = static_cast<uint8_t>(random());
      bytes[i] = is_fp8       ? static_cast<uint8_t>((x & 0x8f) | 0x30)
                 : i % 2 == 0 ? x
                              : static_cast<uint8_t>((x & 0x80) | 0x3f);
    }
    return bytes;
  };
  static const std::vector<uint8_t> bf16 = kMake(false), fp8 = kMake(true);
  return dtype == DType::kF8E4M3 ? fp8 : bf16;
}

Tensor Bench::random(DType dtype, const Shape& shape) {
  const Tensor tensor = allocate(dtype, shape);
  const std::vector<uint8_t>& bytes = pattern(dtype);
  const size_t offset = random_() % (size_t{1} << 19) * 2, stretch = size_t{32} << 20;
  for (size_t at = 0; at < tensor.num_bytes(); at += stretch) {
    device_.copy(stream_, static_cast<std::byte*>(tensor.data) + at, bytes.data() + offset,
                 std::min(stretch, tensor.num_bytes() - at));
  }
  stream_.synchronize();
  return tensor;
}

std::vector<float> Bench::fetch(const Tensor& tensor) {
  std::vector<uint16_t> bits(static_cast<size_t>(tensor.num_elements()));
  device_.copy(stream_, bits.data(), tensor.data, tensor.num_bytes());
  stream_.synchronize();
  std::vector<float> values;
  for (const uint16_t x : bits) values.push_back(bf16_to_f32(x));
  return values;
}

AttentionMetadata Bench::metadata(const Case& c, int queries) {
  const int blocks = (c.length + kBlockSize - 1) / kBlockSize;
  std::vector<int> tables(static_cast<size_t>(c.seqs * blocks)), starts{0};
  std::iota(tables.begin(), tables.end(), 0);
  std::shuffle(tables.begin(), tables.end(), std::mt19937(3));
  for (int s = 0; s < c.seqs; ++s) starts.push_back(starts.back() + queries);
  const int64_t tokens = starts.back();
  AttentionMetadata m;
  m.query_start_loc = put(DType::kI32, starts, {c.seqs + 1});
  m.seq_lens = put(DType::kI32, c.lengths(), {c.seqs});
  m.block_tables = put(DType::kI32, tables, {c.seqs, blocks});
  m.slot_mapping = put(DType::kI64, std::vector<int64_t>(static_cast<size_t>(tokens), 1), {tokens});
  m.positions = put(DType::kI32, std::vector<int>(static_cast<size_t>(3 * tokens), 1), {3, tokens});
  m.num_seqs = c.seqs, m.num_tokens = static_cast<int>(tokens), m.max_query_len = queries, m.max_seq_len = c.length;
  m.num_decodes = queries == 1 ? c.seqs : 0;
  chunks_.assign(static_cast<size_t>(queries == 1 ? 0 : c.seqs), {queries, c.length});
  m.chunks = chunks_;
  m.block_size = kBlockSize;
  const AttentionLimits limits{c.seqs,        static_cast<int>(tokens),  c.length,
                               c.heads,       c.is_mla ? 1 : c.kv_heads, c.key_dim(),
                               c.value_dim(), c.is_mla ? 192 : 0,        c.is_mla ? 256 : 0,
                               c.cache};
  OpContext context{stream_, full_, device_.caps()};
  m.workspace = allocate(DType::kU8, {static_cast<int64_t>(attention_workspace_bytes(context, limits))});
  return m;
}

void Bench::attend(const Case& c, const OpTable& table, const AttentionMetadata& metadata, const Tensor& out,
                   const Tensor& q, const Tensor& k, const Tensor& v) {
  OpContext context{stream_, table, device_.caps()};
  if (c.is_mla) {
    mla_attention(context, {.out = out, .q = q, .cache = k, .metadata = &metadata, .scale = 1.0f / 16});
  } else {
    paged_attention(context,
                    {.out = out, .q = q, .k_cache = k, .v_cache = v, .metadata = &metadata, .scale = 0.0883883f});
  }
}

// Median over replays of a graph of `num_calls` calls body(0) … body(num_calls - 1), a call.
template <class Body>
double Bench::microseconds(int num_calls, Body body) {
  for (int i = 0; i < num_calls; ++i) body(i);
  stream_.synchronize();
  stream_.begin_capture();
  for (int i = 0; i < num_calls; ++i) body(i);
  const auto graph = stream_.end_capture();
  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess, "events");
  std::vector<float> times;
  for (int round = 0; round < 7; ++round) {
    CHECK(cudaEventRecord(begin, cuda::handle_of(stream_)) == cudaSuccess, "event");
    stream_.launch(*graph);
    CHECK(cudaEventRecord(end, cuda::handle_of(stream_)) == cudaSuccess, "event");
    stream_.synchronize();
    float ms = 0;
    CHECK(cudaEventElapsedTime(&ms, begin, end) == cudaSuccess, "time");
    times.push_back(ms * 1000 / static_cast<float>(num_calls));
  }
  std::nth_element(times.begin(), times.begin() + 3, times.end());
  return times[3];
}

bool Bench::run(const Case& c) {
  buffers_.clear();
  const int blocks = (c.length + kBlockSize - 1) / kBlockSize * c.seqs;
  const int64_t tokens = int64_t{c.seqs} * c.queries;
  const Shape shape = c.is_mla ? Shape{blocks, kBlockSize, 576} : Shape{blocks, c.kv_heads, kBlockSize, 128};
  const std::vector<int> lengths = c.lengths();
  const double whole = static_cast<double>(shape.num_elements()) * static_cast<double>(size_of(c.cache)) *
                       (c.is_mla ? 1 : 2);
  const double cache_bytes = whole * std::accumulate(lengths.begin(), lengths.end(), 0.0) / (blocks * kBlockSize);
  const bool is_decode = c.queries == 1;
  const int copies = is_decode ? std::clamp(static_cast<int>(rotated_bytes / whole) + 1, 2, max_copies) : 1;
  std::vector<Tensor> k, v;
  for (int i = 0; i < copies; ++i) {
    k.push_back(random(c.cache, shape));
    v.push_back(c.is_mla ? k.back() : random(c.cache, shape));
  }
  const Tensor q = random(DType::kBF16, {tokens, c.heads, c.key_dim()});
  const Tensor out = allocate(DType::kBF16, {tokens, c.heads, c.value_dim()});
  const AttentionMetadata step = metadata(c, c.queries);
  const double us = microseconds(is_decode ? copies : 3, [&](int i) {
    attend(c, full_, step, out, q, k[static_cast<size_t>(i % copies)], v[static_cast<size_t>(i % copies)]);
  });
  attend(c, full_, step, out, q, k[0], v[0]);
  // The check: the last queries of each sequence by the implementation for any shape.
  const int checked = std::min(c.queries, 5);
  const Tensor want = allocate(DType::kBF16, {int64_t{c.seqs} * checked, c.heads, c.value_dim()});
  OpTable any = full_;
  any.paged_attention = any.paged_attention.last(1), any.mla_attention = any.mla_attention.last(1);
  const Tensor last = allocate(DType::kBF16, {int64_t{c.seqs} * checked, c.heads, c.key_dim()});
  const Tensor got = allocate(DType::kBF16, want.shape);
  for (int64_t s = 0; s < c.seqs; ++s) {
    const int64_t from = s * c.queries + c.queries - checked;
    device_.copy(stream_, last[s * checked].data, q[from].data, last.slice(0, 0, checked).num_bytes());
    device_.copy(stream_, got[s * checked].data, out[from].data, got.slice(0, 0, checked).num_bytes());
  }
  attend(c, any, metadata(c, checked), want, last, k[0], v[0]);
  const double flops = 2 * c.pairs() * c.heads * (c.key_dim() + c.value_dim());
  return report(c, us, cache_bytes, flops, error_of(fetch(got), fetch(want)));
}

double Bench::error_of(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) error += std::pow(got[i] - want[i], 2.0), norm += std::pow(want[i], 2.0);
  return std::sqrt(error / norm);
}

bool Bench::report(const Case& c, double us, double cache_bytes, double flops, double error) {
  const double bound = std::max(cache_bytes / kBytesPerSecond, flops / kFlopsPerSecond) * 1e6;
  const bool is_right = error < 0.012;
  fmt::print("{:26} {:5} {:9.1f} us  bound {:8.1f} us  {:5.1f} %  {:6.2f} TB/s {:6.0f} TFLOP/s  error {:.5f}{}\n",
             c.name, name_of(c.cache), us, bound, 100 * bound / us, cache_bytes / us * 1e-6, flops / us * 1e-6, error,
             is_right ? "" : "  WRONG");
  std::fflush(stdout);
  return is_right;
}

PackedWeight Bench::pack(int64_t heads, int64_t rows, int64_t cols) {
  OpContext context{stream_, full_, device_.caps()};
  const PackShape shape{heads, rows, cols, DType::kBF16, RowOrder::kPlain};
  auto arena = Arena::create(device_, MemoryKind::kDevice, packed_linear_bytes(context, shape));
  CHECK(arena, "{}", arena.error().message);
  weights_.push_back(std::move(*arena));
  PackedWeight weight;
  const std::vector<Tensor> sources(static_cast<size_t>(heads), random(DType::kBF16, {rows, cols}));
  pack_linear(context, weights_.back(),
              {.out = &weight, .sources = sources, .num_matrices = heads, .order = RowOrder::kPlain});
  stream_.synchronize();
  return weight;
}

// Expanded, as the layer runs prompts; compared with the absorbed form.
bool Bench::run_mla_prefill(const Case& c) {
  buffers_.clear(), weights_.clear();
  const int64_t tokens = int64_t{c.seqs} * c.queries;
  constexpr int64_t latent = 512, rope = 64, nope = 192, value = 256, key = nope + rope;
  const int blocks = (c.length + kBlockSize - 1) / kBlockSize * c.seqs;
  const Tensor cache = random(c.cache, {blocks, kBlockSize, latent + rope});
  const Tensor q = random(DType::kBF16, {tokens, c.heads, key}), out = allocate(DType::kBF16, {tokens, c.heads, value});
  const Tensor scratch = allocate(DType::kBF16, {tokens, c.heads, latent + rope});
  const PackedWeight w_uk = pack(c.heads, latent, nope), w_uv = pack(c.heads, value, latent);
  const AttentionMetadata step = metadata(c, c.queries);
  const float scale = 1.0f / 512;   // the weights are much larger than a model's
  OpContext context{stream_, full_, device_.caps()};
  const MlaPrefillArgs args{.out = out, .q = q, .scratch = scratch, .cache = cache, .w_uk = &w_uk, .w_uv = &w_uv,
                            .metadata = &step, .scale = scale};
  const double us = microseconds(3, [&](int) { mla_prefill(context, args); });
  const int checked = std::min(c.queries, 5);
  const int64_t rows = int64_t{c.seqs} * checked;
  const Tensor last = allocate(DType::kBF16, {rows, c.heads, key});
  const Tensor got = allocate(DType::kBF16, {rows, c.heads, value}), want = allocate(DType::kBF16, got.shape);
  for (int64_t s = 0; s < c.seqs; ++s) {
    const int64_t from = s * c.queries + c.queries - checked;
    device_.copy(stream_, last[s * checked].data, q[from].data, last.slice(0, 0, checked).num_bytes());
    device_.copy(stream_, got[s * checked].data, out[from].data, got.slice(0, 0, checked).num_bytes());
  }
  AttentionMetadata checks = metadata(c, checked);
  checks.positions = put(DType::kI32, std::vector<int>(static_cast<size_t>(3 * rows)), {3, rows});   // 0: no rotation
  const Tensor absorbed = allocate(DType::kBF16, {rows, c.heads, latent + rope});
  const Tensor attended = allocate(DType::kBF16, {rows, c.heads, latent});
  head_linear(context, {.out = absorbed.slice(2, 0, latent), .in = last.slice(2, 0, nope), .weight = &w_uk});
  mla_query_rope(context, {.out = absorbed.slice(2, latent, latent + rope), .in = last.slice(2, nope, key),
                           .metadata = &checks, .rope = {RopePairing::kInterleaved, 64, 1e6, {32, 0, 0}}});
  mla_attention(context, {.out = attended, .q = absorbed, .cache = cache, .metadata = &checks, .scale = scale});
  head_linear(context, {.out = want, .in = attended, .weight = &w_uv});
  const double cache_bytes = static_cast<double>(cache.num_elements()) * static_cast<double>(size_of(c.cache));
  const double expanded = 2.0 * c.seqs * c.length * c.heads * static_cast<double>((nope + value) * latent);
  const double attended_flops = 2 * c.pairs() * c.heads * static_cast<double>(key + value);
  return report(c, us, cache_bytes, expanded + attended_flops, error_of(fetch(got), fetch(want)));
}

// The ops around attention, for a 9B's and a Flash's heads. Their results are compared in tests/ops; here only time is
// taken.
void Bench::run_writes(int num_tokens, DType cache) {
  buffers_.clear();
  AttentionMetadata step = metadata({"", false, 32, 2, num_tokens, 1280, 1, cache}, 1);
  std::vector<int64_t> slots(static_cast<size_t>(num_tokens));
  for (size_t i = 0; i < slots.size(); ++i)
    slots[i] = static_cast<int64_t>(i) * 37 % (int64_t{num_tokens} * kBlockSize);
  step.slot_mapping = put(DType::kI64, slots, {num_tokens});
  OpContext context{stream_, full_, device_.caps()};
  const RopeParams rope{RopePairing::kInterleaved, 64, 1e6, {32, 0, 0}};
  const Tensor qkv = random(DType::kBF16, {num_tokens, 4608}), bias = random(DType::kBF16, {4608});
  const Tensor q = allocate(DType::kBF16, {num_tokens, 32, 128});
  const Tensor k = allocate(cache, {num_tokens, 2, kBlockSize, 128}),
               v = allocate(cache, {num_tokens, 2, kBlockSize, 128});
  const Tensor qkv_a = random(DType::kBF16, {num_tokens, 1344}), norm = random(DType::kBF16, {768});
  const Tensor latent = allocate(DType::kBF16, {num_tokens, 768}),
               latents = allocate(cache, {num_tokens, kBlockSize, 576});
  const Tensor heads = random(DType::kBF16, {num_tokens, 20, 256}),
               absorbed = allocate(DType::kBF16, {num_tokens, 20, 576});
  const auto report = [&](const char* op, double bytes, double us) {
    fmt::print("{:26} {:5} {:9.1f} us  bound {:8.1f} us  {:5.1f} %\n", fmt::format("{} {}", op, num_tokens),
               name_of(cache), us, bytes / kBytesPerSecond * 1e6, 100 * bytes / kBytesPerSecond * 1e6 / us);
  };
  const double cached = static_cast<double>(size_of(cache)), tokens = num_tokens;
  report("qkv_rope_write", tokens * (4608 * 2 + 4096 * 2 + 512 * cached), microseconds(20, [&](int) {
           qkv_rope_write(context, {.q_out = q,
                                    .qkv = qkv,
                                    .bias = bias,
                                    .q_norm = {},
                                    .k_norm = {},
                                    .norm_eps = 0,
                                    .k_cache = k,
                                    .v_cache = v,
                                    .metadata = &step,
                                    .rope = rope});
         }));
  report("mla_write", tokens * (1344 * 2 + 768 * 2 + 576 * cached), microseconds(20, [&](int) {
           mla_write(context, {.q_latent = latent,
                               .qkv_a = qkv_a,
                               .q_norm = norm,
                               .kv_norm = norm.slice(0, 0, 512),
                               .norm_eps = 1e-5f,
                               .cache = latents,
                               .metadata = &step,
                               .rope = rope});
         }));
  report("mla_query_rope", tokens * 20 * 64 * 4, microseconds(20, [&](int) {
           mla_query_rope(
               context,
               {.out = absorbed.slice(2, 512, 576), .in = heads.slice(2, 192, 256), .metadata = &step, .rope = rope});
         }));
}

std::vector<Case> cases(const std::string& what) {
  std::vector<Case> all;
  for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
    if (what == "decode" || what == "gqa") {
      all.push_back({"9B 64x1280", false, 32, 2, 64, 1280, 1, dtype});
      all.push_back({"106B 64x1280", false, 96, 8, 64, 1280, 1, dtype});
      all.push_back({"106B 64x1060", false, 96, 8, 64, 1060, 1, dtype});
      all.push_back({"106B 64x1024…1536", false, 96, 8, 64, 1536, 1, dtype, 1024});
      all.push_back({"9B 128x1024…1536", false, 32, 2, 128, 1536, 1, dtype, 1024});
      all.push_back({"9B 1x1280", false, 32, 2, 1, 1280, 1, dtype});
      all.push_back({"9B 256x1280", false, 32, 2, 256, 1280, 1, dtype});
      all.push_back({"9B 1x8192", false, 32, 2, 1, 8192, 1, dtype});
      all.push_back({"9B 1x131072", false, 32, 2, 1, 131072, 1, dtype});
    }
    if (what == "decode" || what == "mla") {
      all.push_back({"MLA 64x1280", true, 20, 1, 64, 1280, 1, dtype});
      all.push_back({"MLA 256x1280", true, 20, 1, 256, 1280, 1, dtype});
      all.push_back({"MLA 256x1024…1536", true, 20, 1, 256, 1536, 1, dtype, 1024});
      all.push_back({"MLA 1x1280", true, 20, 1, 1, 1280, 1, dtype});
      all.push_back({"MLA 1x8192", true, 20, 1, 1, 8192, 1, dtype});
      all.push_back({"MLA 1x131072", true, 20, 1, 1, 131072, 1, dtype});
    }
    if (what == "prefill") {
      all.push_back({"9B prefill 1x1024", false, 32, 2, 1, 1024, 1024, dtype});
      all.push_back({"9B prefill 4x1024", false, 32, 2, 4, 1024, 1024, dtype});
      all.push_back({"9B prefill 1x8192", false, 32, 2, 1, 8192, 8192, dtype});
      all.push_back({"106B prefill 1x8192", false, 96, 8, 1, 8192, 8192, dtype});
      all.push_back({"9B extend 512 of 16384", false, 32, 2, 1, 16384, 512, dtype});
      all.push_back({"MLA prefill 1x1024", true, 20, 1, 1, 1024, 1024, dtype});
      all.push_back({"MLA prefill 4x1024", true, 20, 1, 4, 1024, 1024, dtype});
      all.push_back({"MLA prefill 1x8192", true, 20, 1, 1, 8192, 8192, dtype});
      all.push_back({"MLA extend 512 of 16384", true, 20, 1, 1, 16384, 512, dtype});
      all.push_back({"MLA extend 2048 of 131072", true, 20, 1, 1, 131072, 2048, dtype});
    }
  }
  return all;
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  auto device = gale::make_cuda_device(0);
  CHECK(device, "{}", device.error().message);
  const auto stream = (*device)->make_stream();
  fmt::print("{}\n", (*device)->caps().name);
  std::vector<std::string> wanted(argv + 1, argv + argc);
  const auto take = [&](const std::string& option) -> std::string {
    const auto found = std::find(wanted.begin(), wanted.end(), option);
    if (found == wanted.end()) return {};
    CHECK(found + 1 != wanted.end(), "{} wants a value", option);
    const std::string value = found[1];
    wanted.erase(found, found + 2);
    return value;
  };
  const std::string name = take("--case"), rotated = take("--rotate-gib");
  if (!rotated.empty()) gale::rotated_bytes = std::stod(rotated) * (1 << 30), gale::max_copies = 1024;
  if (wanted.empty()) wanted = {"decode", "prefill", "write"};
  bool is_right = true;
  for (const std::string& what : wanted) {
    if (what == "write") {
      for (const int tokens : {1, 64, 4096}) {
        for (const gale::DType cache : {gale::DType::kBF16, gale::DType::kF8E4M3})
          gale::Bench(**device, *stream).run_writes(tokens, cache);
      }
    }
    for (const gale::Case& c : gale::cases(what)) {
      if (c.name.find(name) == std::string::npos) continue;
      gale::Bench bench(**device, *stream);
      is_right &= c.is_mla && c.queries > 1 ? bench.run_mla_prefill(c) : bench.run(c);
    }
  }
  return is_right ? 0 : 1;
}
