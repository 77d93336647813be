// Speed of the GPU's ops at the shapes of the models: cuda_ops_bench [M=1,4,8] [S=1] [part of a name …]
// For each op, shape and precision a line: microseconds and the share of the bound for each number of tokens M. The
// bound: weights and activations once at 3.0 TB/s, or the arithmetic at 680 (bf16) or 1320 (FP8) TFLOP/s, what one H100
// sustains. Weights rotate through more memory than L2 holds; times are medians over replays of a graph of many calls.
// With S each op runs for so many seconds, so that the card comes to its limit of power as in a server's steps, and the
// second half is measured; behind the share stand watts and the SMs' clock in MHz.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "backends/cuda/cuda_backend.h"
#include "card_watch.h"
#include "ops/op_table.h"
#include "tensor/convert.h"

namespace gale {
namespace {

constexpr double kBandwidth = 3.0e12, kBf16Rate = 680e12, kFp8Rate = 1320e12;
constexpr size_t kRotatedBytes = size_t{300} << 20;
constexpr size_t kMinReplayedNs = 2'000'000;
constexpr int kRounds = 5;
double sustained_seconds = 0;
std::vector<int64_t> all_tokens = {1, 4, 8, 16, 32, 64, 128, 256, 1024, 4096};   // M= names others

struct Work { double bytes, flops, rate; };

// Notes which implementations ran.
class Names final : public OpTrace {
 public:
  void ran(std::string_view, std::string_view implementation) override { names_.insert(std::string(implementation)); }
  [[nodiscard]] std::string take() {
    std::string all;
    for (const std::string& name : names_) all += (all.empty() ? "" : ", ") + name;
    names_.clear();
    return all;
  }

 private:
  std::set<std::string> names_;
};

class Bench {
 public:
  explicit Bench(Device& device)
      : device_(device), stream_(device.make_stream()), context_{*stream_, cuda_op_table(), device.caps(), &names_} {}

  [[nodiscard]] OpContext& context() { return context_; }
  void begin(std::string title) { line_ = std::move(title), buffers_.clear(); }

  [[nodiscard]] Tensor zeros(DType dtype, const Shape& shape) {
    auto buffer = device_.allocate(MemoryKind::kDevice, static_cast<size_t>(shape.num_elements()) * size_of(dtype));
    CHECK(buffer, "{}", buffer.error().message);
    buffers_.push_back(std::move(*buffer));
    return Tensor::contiguous(buffers_.back()->data(), dtype, shape);
  }
  // A pattern of some million random numbers, repeated.
  [[nodiscard]] Tensor random(DType dtype, const Shape& shape) {
    const Tensor tensor = zeros(dtype, shape);
    const std::vector<std::byte>& pattern = pattern_of(dtype);
    for (size_t at = 0; at < tensor.num_bytes(); at += pattern.size())
      device_.copy(*stream_, static_cast<std::byte*>(tensor.data) + at, pattern.data(),
                   std::min(pattern.size(), tensor.num_bytes() - at));
    stream_->synchronize();
    return tensor;
  }
  // Activations of a weight of this format.
  [[nodiscard]] Tensor input(WeightFormat format, const Shape& shape) {
    if (format == WeightFormat::kAsIs) return random(DType::kBF16, shape);
    return with_scales(random(DType::kF8E4M3, shape));
  }
  [[nodiscard]] Tensor with_scales(Tensor tensor) {
    const std::vector<float> factors(static_cast<size_t>(tensor.num_elements() / tensor.shape[tensor.shape.rank() - 1]),
                                     0.003f);
    const Tensor scales = zeros(DType::kF32, {static_cast<int64_t>(factors.size())});
    device_.copy(*stream_, scales.data, factors.data(), scales.num_bytes());
    stream_->synchronize();
    tensor.scales = scales.as<float>();
    return tensor;
  }
  [[nodiscard]] Tensor ints(const std::vector<int32_t>& values, const Shape& shape) {
    const Tensor tensor = zeros(DType::kI32, shape);
    device_.copy(*stream_, tensor.data, values.data(), tensor.num_bytes());
    stream_->synchronize();
    return tensor;
  }
  // As many copies of a weight as it takes to leave L2 between two uses of one.
  [[nodiscard]] std::vector<PackedWeight> weights(int64_t num_matrices, int64_t num_rows, int64_t num_cols,
                                                  RowOrder order, WeightFormat format) {
    const Tensor source = random(DType::kBF16, {num_rows, num_cols});
    const int64_t half = num_rows / 2;
    std::vector<Tensor> sources;
    for (int64_t i = 0; i < num_matrices; ++i) {
      if (order == RowOrder::kPlain) {
        sources.push_back(source);
      } else {
        sources.push_back(source.slice(0, 0, half));
        sources.push_back(source.slice(0, half, num_rows));
      }
    }
    const size_t bytes = packed_linear_bytes(context_, {num_matrices, num_rows, num_cols, DType::kBF16, order, format});
    std::vector<PackedWeight> copies(std::clamp<size_t>(kRotatedBytes / bytes + 1, 2, 64));
    for (PackedWeight& copy : copies) {
      auto arena = Arena::create(device_, MemoryKind::kDevice, bytes);
      CHECK(arena, "{}", arena.error().message);
      arenas_.push_back(std::move(*arena));
      pack_linear(context_, arenas_.back(),
                  {.out = &copy, .sources = sources, .num_matrices = num_matrices, .order = order, .format = format});
    }
    stream_->synchronize();
    return copies;
  }
  void forget_weights() { arenas_.clear(); }

  // Times op(i) for i = 0, 1, … and adds a cell to the line.
  void cell(const Work& work, const std::function<void(int)>& op) {
    constexpr int kCalls = 24;
    op(0);
    stream_->synchronize();
    stream_->begin_capture();
    for (int i = 0; i < kCalls; ++i) op(i);
    const auto graph = stream_->end_capture();
    const auto nanoseconds = [&](int replays) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < replays; ++i) stream_->launch(*graph);
      stream_->synchronize();
      return static_cast<size_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
    };
    nanoseconds(1);
    const int replays = static_cast<int>(kMinReplayedNs / nanoseconds(1)) + 1;
    const double bound_us = std::max(work.bytes / kBandwidth, work.flops / work.rate) * 1e6;
    if (sustained_seconds > 0) {
      size_t elapsed = 0, measured = 0, count = 0;
      const auto half = static_cast<size_t>(sustained_seconds * 0.5e9);
      while (elapsed < half) elapsed += nanoseconds(replays);
      watch_.begin();
      for (; measured < half; count += static_cast<size_t>(replays)) measured += nanoseconds(replays);
      const CardWatch::Reading card = watch_.end();
      const double us = static_cast<double>(measured) / static_cast<double>(count) / kCalls * 1e-3;
      line_ += fmt::format(" {:7.1f} {:3.0f}% {:3.0f}W {:4.0f}", us, bound_us / us * 100, card.watts, card.sm_mhz);
      return;
    }
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round)
      times.push_back(static_cast<double>(nanoseconds(replays)) / replays / kCalls * 1e-3);
    std::sort(times.begin(), times.end());
    const double microseconds = times[times.size() / 2];
    line_ += fmt::format(" {:7.1f} {:3.0f}%", microseconds, bound_us / microseconds * 100);
  }
  void skip() { line_ += "             "; }
  void end() {
    fmt::print("{}  {}\n", line_, names_.take());
    std::fflush(stdout);
  }

 private:
  [[nodiscard]] const std::vector<std::byte>& pattern_of(DType dtype) {
    std::vector<std::byte>& pattern = patterns_[static_cast<size_t>(dtype)];
    if (!pattern.empty()) return pattern;
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0, 1);
    pattern.resize(size_t{6} << 20);
    for (size_t at = 0; at < pattern.size(); at += size_of(dtype)) {
      const float value = normal(random);
      const uint16_t half = f32_to_bf16(value * 0.05f);
      const uint8_t byte = f32_to_f8e4m3(value * 100);
      const void* from = dtype == DType::kF32    ? static_cast<const void*>(&value)
                         : dtype == DType::kBF16 ? static_cast<const void*>(&half)
                                                 : &byte;
      std::copy_n(static_cast<const std::byte*>(from), size_of(dtype), pattern.data() + at);
    }
    return pattern;
  }

  Device& device_;
  std::unique_ptr<Stream> stream_;
  Names names_;
  OpContext context_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Arena> arenas_;
  std::vector<std::byte> patterns_[8];
  std::string line_;
  CardWatch watch_;
};

struct Format { WeightFormat format; const char* name; double bytes, rate; };
constexpr Format kFormats[] = {{WeightFormat::kAsIs, "bf16", 2, kBf16Rate},
                               {WeightFormat::kF8E4M3, "fp8 ", 1, kFp8Rate}};

struct DenseShape { const char* name; int64_t num_rows, num_cols; bool is_swiglu, is_logits; };

void bench_dense(Bench& bench, const DenseShape& shape, const Format& format) {
  bench.begin(fmt::format("{:<16} {} [{:6}, {:5}]", shape.name, format.name, shape.num_rows, shape.num_cols));
  const auto weights = bench.weights(1, shape.num_rows, shape.num_cols,
                                     shape.is_swiglu ? RowOrder::kGateUp : RowOrder::kPlain, format.format);
  const double n = static_cast<double>(shape.num_rows), k = static_cast<double>(shape.num_cols);
  for (const int64_t m : all_tokens) {
    if (shape.is_logits && m > 1024) { bench.skip(); continue; }
    const Tensor in = bench.input(format.format, {m, shape.num_cols});
    const int64_t width = shape.is_swiglu ? shape.num_rows / 2 : shape.num_rows;
    const DType dtype = shape.is_logits                                           ? DType::kF32
                        : shape.is_swiglu && format.format != WeightFormat::kAsIs ? DType::kF8E4M3
                                                                                  : DType::kBF16;
    Tensor out = bench.zeros(dtype, {m, width});
    if (dtype == DType::kF8E4M3) out = bench.with_scales(out);
    const Tensor scratch = shape.is_swiglu ? bench.zeros(DType::kBF16, {m, shape.num_rows}) : Tensor{};
    const auto rows = static_cast<double>(m);
    const Work work{format.bytes * (n * k + rows * k) + static_cast<double>(out.num_bytes()), 2 * rows * n * k,
                    format.rate};
    bench.cell(work, [&](int i) {
      const PackedWeight* weight = &weights[static_cast<size_t>(i) % weights.size()];
      if (shape.is_swiglu) {
        linear_swiglu(bench.context(), {.out = out, .in = in, .weight = weight, .scratch = scratch});
      } else {
        linear(bench.context(), {.out = out, .in = in, .weight = weight, .bias = {}});
      }
    });
  }
  bench.forget_weights();
  bench.end();
}

// MLA's matrices of each head, over slices of rows as wide as the layer makes them.
void bench_heads(Bench& bench, const char* name, int64_t num_rows, int64_t num_cols, int64_t row_width) {
  constexpr int64_t kHeads = 20;
  bench.begin(fmt::format("{:<16} bf16 20 x [{:4}, {:3}]", name, num_rows, num_cols));
  const auto weights = bench.weights(kHeads, num_rows, num_cols, RowOrder::kPlain, WeightFormat::kAsIs);
  for (const int64_t m : all_tokens) {
    const Tensor in = bench.random(DType::kBF16, {m, kHeads, row_width}).slice(2, 0, num_cols);
    const Tensor out = bench.zeros(DType::kBF16, {m, kHeads, num_rows});
    const auto matrices = static_cast<double>(kHeads * num_rows * num_cols),
               rows = static_cast<double>(m * kHeads * (num_rows + num_cols));
    bench.cell({2 * (matrices + rows), 2 * static_cast<double>(m) * matrices, kBf16Rate}, [&](int i) {
      head_linear(bench.context(), {.out = out, .in = in, .weight = &weights[static_cast<size_t>(i) % weights.size()]});
    });
  }
  bench.forget_weights();
  bench.end();
}

struct MoeShape { const char* name; int64_t num_experts, top_k, hidden, inner; };

// Distinct experts a token, chosen uniformly; the shared one last.
struct Choice {
  std::vector<int32_t> ids, sorted, offsets;
  Choice(const MoeShape& shape, int64_t num_tokens) {
    std::mt19937 random(9);
    std::vector<int32_t> all(static_cast<size_t>(shape.num_experts));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t t = 0; t < num_tokens; ++t) {
      std::shuffle(all.begin(), all.end(), random);
      ids.insert(ids.end(), all.begin(), all.begin() + shape.top_k);
      ids.push_back(static_cast<int32_t>(shape.num_experts));
    }
    sorted.resize(ids.size());
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](int32_t a, int32_t b) { return ids[static_cast<size_t>(a)] < ids[static_cast<size_t>(b)]; });
    offsets.assign(static_cast<size_t>(shape.num_experts) + 2, 0);
    for (const int32_t id : ids) ++offsets[static_cast<size_t>(id) + 1];
    std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  }
  [[nodiscard]] double num_touched() const {
    return static_cast<double>(std::set<int32_t>(ids.begin(), ids.end()).size());
  }
};

void bench_moe(Bench& bench, const MoeShape& shape, const Format& format, bool is_up) {
  const int64_t num_rows = is_up ? 2 * shape.inner : shape.hidden, num_cols = is_up ? shape.hidden : shape.inner,
                k = shape.top_k + 1;
  bench.begin(
      fmt::format("{:<11} {:<4} {} [{:6}, {:5}]", shape.name, is_up ? "up" : "down", format.name, num_rows, num_cols));
  const auto weights = bench.weights(shape.num_experts + 1, num_rows, num_cols,
                                     is_up ? RowOrder::kGateUp : RowOrder::kPlain, format.format);
  for (const int64_t m : all_tokens) {
    const Choice choice(shape, m);
    const Tensor ids = bench.ints(choice.ids, {m, k}), sorted = bench.ints(choice.sorted, {m * k});
    const Tensor offsets = bench.ints(choice.offsets, {shape.num_experts + 2});
    const bool is_fp8_out = is_up && format.format != WeightFormat::kAsIs;
    Tensor inner = is_up ? bench.zeros(is_fp8_out ? DType::kF8E4M3 : DType::kBF16, {m, k, shape.inner})
                         : bench.input(format.format, {m, k, shape.inner});
    if (is_fp8_out) inner = bench.with_scales(inner);
    const Tensor hidden =
        is_up ? bench.input(format.format, {m, shape.hidden}) : bench.zeros(DType::kBF16, {m, shape.hidden});
    const Tensor factors = bench.random(DType::kF32, {m, k}),
                 scratch = bench.zeros(DType::kBF16, {m * k, is_up ? 2 * shape.inner : shape.hidden});
    const Tensor by_expert = bench.input(format.format, {m * k, num_cols});
    const double pairs = static_cast<double>(m * k), matrix = static_cast<double>(num_rows * num_cols);
    const Work work{
        format.bytes * choice.num_touched() * matrix + static_cast<double>(inner.num_bytes() + hidden.num_bytes()),
        2 * pairs * matrix, format.rate};
    bench.cell(work, [&](int i) {
      const PackedWeight* weight = &weights[static_cast<size_t>(i) % weights.size()];
      if (is_up) {
        moe_up(bench.context(), {.out = inner, .in = hidden, .weight = weight, .expert_ids = ids, .scratch = scratch,
                                 .sorted_rows = sorted, .expert_offsets = offsets, .by_expert = by_expert});
      } else {
        moe_down_combine(bench.context(), {.out = hidden,
                                           .in = inner,
                                           .weight = weight,
                                           .expert_ids = ids,
                                           .expert_weights = factors,
                                           .scratch = scratch,
                                           .sorted_rows = sorted,
                                           .expert_offsets = offsets,
                                           .by_expert = by_expert});
      }
    });
  }
  bench.forget_weights();
  bench.end();
}

void bench_route(Bench& bench, const MoeShape& shape) {
  bench.begin(
      fmt::format("{:<16}      [{:6}, {:5}]", fmt::format("{} route", shape.name), shape.num_experts, shape.hidden));
  const Tensor gate = bench.random(DType::kF32, {shape.num_experts, shape.hidden}),
               bias = bench.zeros(DType::kF32, {shape.num_experts});
  const int64_t k = shape.top_k + 1;
  for (const int64_t m : all_tokens) {
    const Tensor in = bench.random(DType::kBF16, {m, shape.hidden});
    MoeRouteArgs args{.expert_ids = bench.zeros(DType::kI32, {m, k}),
                      .expert_weights = bench.zeros(DType::kF32, {m, k}),
                      .in = in,
                      .gate_weight = gate,
                      .correction_bias = bias};
    args.sorted_rows = bench.zeros(DType::kI32, {m * k});
    args.expert_offsets = bench.zeros(DType::kI32, {shape.num_experts + 2});
    const double products = static_cast<double>(m * shape.num_experts * shape.hidden);
    bench.cell({static_cast<double>(in.num_bytes() + gate.num_bytes()), 2 * products, 60e12},
               [&](int) { moe_route(bench.context(), args); });
  }
  bench.end();
}

void bench_norms(Bench& bench, int64_t width) {
  for (const char* kind : {"add_rms_norm", "norm_add_norm", "add_norm + fp8", "quantize_rows"}) {
    const std::string name = kind;
    bench.begin(fmt::format("{:<16}      [     M, {:5}]", name, width));
    const Tensor weight = bench.random(DType::kBF16, {width});
    for (const int64_t m : all_tokens) {
      const Shape shape{m, width};
      const Tensor in = bench.random(DType::kBF16, shape), residual = bench.random(DType::kBF16, shape),
                   out = bench.zeros(DType::kBF16, shape);
      const Tensor rounded = bench.with_scales(bench.zeros(DType::kF8E4M3, shape)), none{};
      const double row_bytes = static_cast<double>(in.num_bytes());
      const double passes = name == "quantize_rows" ? 1.5 : name == "add_norm + fp8" ? 4.5 : 4;
      bench.cell({row_bytes * passes, 0, 1}, [&](int) {
        if (name == "quantize_rows") return quantize_rows(bench.context(), {.out = rounded, .in = in});
        if (name == "norm_add_norm")
          return norm_add_rms_norm(
              bench.context(),
              {.out = out, .residual = residual, .in = in, .post_weight = weight, .weight = weight, .eps = 1e-5f});
        add_rms_norm(bench.context(), {.out = out, .residual = residual, .in = in, .weight = weight, .eps = 1e-5f,
                                       .quantized = name == "add_norm + fp8" ? rounded : none});
      });
    }
    bench.end();
  }
}

void bench_sample(Bench& bench, const char* name, float temperature, float top_p) {
  constexpr int64_t kVocabulary = 151552;
  bench.begin(fmt::format("{:<16}      [     M,{:6}]", name, kVocabulary));
  for (const int64_t m : all_tokens) {
    if (m > 256) { bench.skip(); continue; }
    const auto column = [&](float value) {
      std::vector<int32_t> bits(static_cast<size_t>(m), static_cast<int32_t>(std::bit_cast<uint32_t>(value)));
      const Tensor tensor = bench.ints(bits, {m});
      return Tensor::contiguous(tensor.data, DType::kF32, {m});
    };
    const Tensor logits = bench.random(DType::kF32, {m, kVocabulary});
    const SampleArgs args{.token_ids = bench.zeros(DType::kI32, {m}),
                          .logits = logits,
                          .temperature = column(temperature),
                          .top_p = column(top_p),
                          .min_p = column(0),
                          .top_k = bench.zeros(DType::kI32, {m}),
                          .seeds = bench.zeros(DType::kI64, {m}),
                          .positions = bench.zeros(DType::kI64, {m})};
    bench.cell({static_cast<double>(logits.num_bytes()), 0, 1}, [&](int) { sample(bench.context(), args); });
  }
  bench.end();
}

void run(Bench& bench, const std::function<bool(const std::string&)>& is_wanted) {
  constexpr DenseShape kDense[] = {
      {"9b.qkv", 4608, 4096, false, false},         {"9b.o", 4096, 4096, false, false},
      {"9b.gate_up", 27392, 4096, true, false},     {"9b.down", 4096, 13696, false, false},
      {"9b.lm_head", 151552, 4096, false, true},    {"flash.qkv_a", 1344, 2048, false, false},
      {"flash.q_b", 5120, 768, false, false},       {"flash.o", 2048, 5120, false, false},
      {"flash.lm_head", 154880, 2048, false, true}, {"46v.qkv", 14336, 4096, false, false},
      {"46v.o", 4096, 12288, false, false}};
  constexpr MoeShape kMoe[] = {{"flash.moe", 64, 4, 2048, 1536}, {"46v.moe", 128, 8, 4096, 1408}};
  std::string head = fmt::format("{:<37}", "op, weights, [N, K]; us and share at M =");
  for (const int64_t m : all_tokens) head += fmt::format(" {:>12}", m);
  fmt::print("{}\n", head);
  for (const int64_t width : {2048, 4096})
    if (is_wanted("norm")) bench_norms(bench, width);
  for (const MoeShape& shape : kMoe)
    if (is_wanted(std::string(shape.name) + ".route")) bench_route(bench, shape);
  if (is_wanted("sample"))
    bench_sample(bench, "sample greedy", 0, 1), bench_sample(bench, "sample t=1", 1, 1),
        bench_sample(bench, "sample top_p", 1, 0.9f);
  // Standard normal logits are flat: what models say is nearer to these.
  if (is_wanted("sample")) bench_sample(bench, "sample peaked", 0.15f, 1);
  if (is_wanted("sample")) bench_sample(bench, "peaked top_p", 0.15f, 0.95f);
  if (is_wanted("flash.heads"))
    bench_heads(bench, "flash.w_uk", 512, 192, 256), bench_heads(bench, "flash.w_uv", 256, 512, 512);
  for (const DenseShape& shape : kDense)
    for (const Format& format : kFormats)
      if (is_wanted(shape.name)) bench_dense(bench, shape, format);
  for (const MoeShape& shape : kMoe)
    for (const Format& format : kFormats)
      for (const bool is_up : {true, false})
        if (is_wanted(std::string(shape.name) + (is_up ? ".up" : ".down"))) bench_moe(bench, shape, format, is_up);
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  auto device = gale::make_cuda_device(0);
  if (!device) return fmt::print("{}\n", device.error().message), 1;
  fmt::print("{}\n", (*device)->caps().name);
  std::vector<std::string> parts(argv + 1, argv + argc);
  const auto take = [&](std::string_view option) -> std::string {
    const auto found = std::ranges::find_if(parts, [&](const std::string& part) { return part.starts_with(option); });
    if (found == parts.end()) return {};
    const std::string value = found->substr(option.size());
    parts.erase(found);
    return value;
  };
  if (const std::string tokens = take("M="); !tokens.empty()) {
    gale::all_tokens.clear();
    for (std::istringstream list(tokens); list;) {
      std::string number;
      if (std::getline(list, number, ',')) gale::all_tokens.push_back(std::stoll(number));
    }
  }
  if (const std::string seconds = take("S="); !seconds.empty()) gale::sustained_seconds = std::stod(seconds);
  gale::Bench bench(**device);
  gale::run(bench, [&](const std::string& name) {
    return parts.empty() ||
           std::ranges::any_of(parts, [&](const std::string& part) { return name.find(part) != std::string::npos; });
  });
}
