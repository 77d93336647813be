#include "routing.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/stream.h"
#include "ops/dispatch.h"

namespace gale {
namespace {

DeviceCaps cuda_caps;

bool always(const DeviceCaps&, const MoeRouteArgs&) { return true; }

RouteCall describe_call(const MoeRouteArgs& args) {
  RouteCall call{.num_tokens = static_cast<int>(args.in.shape[0]),
                 .num_chosen = static_cast<int>(args.expert_ids.shape[1]),
                 .num_experts = static_cast<int>(args.gate_weight.shape[0]),
                 .num_groups = args.num_groups,
                 .has_shared = args.has_shared};
  const auto size = static_cast<size_t>(call.num_tokens * call.num_chosen);
  call.ids.resize(size), call.weights.resize(size);
  return call;
}

void watch_cpu(Stream& stream, const MoeRouteArgs& args) {
  cpu_op_table().moe_route[0].run(stream, args);
  RouteCall call = describe_call(args);
  std::copy_n(args.expert_ids.as<int32_t>(), call.ids.size(), call.ids.begin());
  std::copy_n(args.expert_weights.as<float>(), call.weights.size(), call.weights.begin());
  const int64_t width = args.in.shape[1];
  for (int t = 0; t < call.num_tokens; ++t) {
    for (int e = 0; e < call.num_experts; ++e) {
      const float* x = args.in.row<float>(t);
      const float logit = std::inner_product(x, x + width, args.gate_weight.row<float>(e), 0.0f);
      call.biased.push_back(1 / (1 + std::exp(-logit)) + args.correction_bias.as<float>()[e]);
    }
  }
  routing().cpu.push_back(std::move(call));
}

void copy_bytes(void* to, const void* from, size_t size, cudaStream_t stream) {
  CHECK(cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, stream) == cudaSuccess, "copying a router's choice");
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess, "copying a router's choice");
}

// The rows in the order of their expert, as a router would leave them.
void put_order(const MoeRouteArgs& args, const std::vector<int32_t>& ids, cudaStream_t stream) {
  const auto num_matrices = static_cast<size_t>(args.expert_offsets.shape[0]) - 1;
  std::vector<int32_t> rows(ids.size()), offsets(num_matrices + 1, 0);
  std::iota(rows.begin(), rows.end(), 0);
  std::stable_sort(rows.begin(), rows.end(),
                   [&ids](int32_t a, int32_t b) { return ids[static_cast<size_t>(a)] < ids[static_cast<size_t>(b)]; });
  for (const int32_t id : ids) ++offsets[static_cast<size_t>(id) + 1];
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  copy_bytes(args.sorted_rows.data, rows.data(), rows.size() * sizeof(int32_t), stream);
  copy_bytes(args.expert_offsets.data, offsets.data(), offsets.size() * sizeof(int32_t), stream);
}

void watch_cuda(Stream& stream, const MoeRouteArgs& args) {
  choose(cuda_op_table().moe_route, cuda_caps, args)->run(stream, args);
  const cudaStream_t handle = cuda::handle_of(stream);
  RouteCall call = describe_call(args);
  copy_bytes(call.ids.data(), args.expert_ids.data, call.ids.size() * sizeof(int32_t), handle);
  copy_bytes(call.weights.data(), args.expert_weights.data, call.weights.size() * sizeof(float), handle);
  Routing& all = routing();
  all.cuda.push_back(std::move(call));
  if (!all.is_forced) return;
  CHECK(all.cuda.size() <= all.cpu.size(), "the CPU routed {} times", all.cpu.size());
  const RouteCall& cpu = all.cpu[all.cuda.size() - 1];
  CHECK(cpu.num_tokens == args.in.shape[0], "the CPU routed {} tokens here, CUDA {}", cpu.num_tokens, args.in.shape[0]);
  copy_bytes(args.expert_ids.data, cpu.ids.data(), cpu.ids.size() * sizeof(int32_t), handle);
  copy_bytes(args.expert_weights.data, cpu.weights.data(), cpu.weights.size() * sizeof(float), handle);
  put_order(args, cpu.ids, handle);
}

constexpr std::array<OpImpl<MoeRouteArgs>, 1> kWatchCpu = {{{"watched_cpu", always, watch_cpu}}};
constexpr std::array<OpImpl<MoeRouteArgs>, 1> kWatchCuda = {{{"watched_cuda", always, watch_cuda}}};

// A group's score is the sum of its two best.
float group_score(const float* biased, int size) {
  float best = -INFINITY, second = -INFINITY;
  for (int e = 0; e < size; ++e) {
    if (biased[e] > best)
      second = best, best = biased[e];
    else
      second = std::max(second, biased[e]);
  }
  return best + (size > 1 ? second : 0);
}

// How far the CPU's scores were from CUDA's choice: the widest gap between an expert only the CPU took and one only
// CUDA took, or, where whole groups changed places, the narrowest gap of their scores.
float margin_of(const RouteCall& cpu, const std::set<int>& own, const std::set<int>& other, int token) {
  const float* biased = cpu.biased.data() + static_cast<size_t>(token) * static_cast<size_t>(cpu.num_experts);
  const int size = cpu.num_experts / cpu.num_groups;
  float widest = 0, narrowest_group = INFINITY;
  for (const int a : own) {
    for (const int b : other) {
      if (other.contains(a) || own.contains(b)) continue;
      widest = std::max(widest, biased[a] - biased[b]);
      if (a / size == b / size) continue;
      const float gap = group_score(biased + a / size * size, size) - group_score(biased + b / size * size, size);
      narrowest_group = std::min(narrowest_group, std::abs(gap));
    }
  }
  return cpu.num_groups == 1 ? widest : std::min(widest, narrowest_group);
}

}  // namespace

Routing& routing() {
  static Routing instance;
  return instance;
}

const OpTable& watched_cpu_table() {
  static const OpTable table = [] {
    OpTable out = cpu_op_table();
    out.moe_route = kWatchCpu;
    return out;
  }();
  return table;
}

const OpTable& watched_cuda_table(const DeviceCaps& caps) {
  cuda_caps = caps;
  static const OpTable table = [] {
    OpTable out = cuda_op_table();
    out.moe_route = kWatchCuda;
    return out;
  }();
  return table;
}

std::vector<Flip> flips(const Routing& routing) {
  CHECK(routing.cpu.size() == routing.cuda.size(), "{} calls on the CPU, {} on CUDA", routing.cpu.size(),
        routing.cuda.size());
  std::vector<Flip> out;
  for (size_t c = 0; c < routing.cpu.size(); ++c) {
    const RouteCall &cpu = routing.cpu[c], &cuda = routing.cuda[c];
    CHECK(cpu.num_tokens == cuda.num_tokens && cpu.num_chosen == cuda.num_chosen, "call {}: {} and {} tokens", c,
          cpu.num_tokens, cuda.num_tokens);
    const int num_routed = cpu.num_chosen - (cpu.has_shared ? 1 : 0);
    for (int t = 0; t < cpu.num_tokens; ++t) {
      const auto begin = static_cast<std::ptrdiff_t>(t) * cpu.num_chosen, end = begin + num_routed;
      const std::set<int> own(cpu.ids.begin() + begin, cpu.ids.begin() + end),
          other(cuda.ids.begin() + begin, cuda.ids.begin() + end);
      if (own != other) out.push_back({static_cast<int>(c), t, margin_of(cpu, own, other, t)});
    }
  }
  return out;
}

}  // namespace gale
