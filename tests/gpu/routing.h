#pragma once

#include <vector>

#include "ops/op_table.h"

namespace gale {

// What a router chose in one call, and from what.
struct RouteCall {
  int num_tokens = 0, num_chosen = 0, num_experts = 0, num_groups = 1;
  bool has_shared = false;
  std::vector<int32_t> ids;    // [T, K]
  std::vector<float> weights;  // [T, K]
  std::vector<float> biased;   // [T, E]: the scores experts are chosen by; of the CPU's calls only
};

// Tables whose routers are watched. What they choose is added to routing().cpu and routing().cuda, in the order of the
// calls; a CUDA call takes the CPU's choice instead while is_forced, so that all else can be compared. Engines must run
// eagerly and one after the other: the CPU first, then the same plans on CUDA.
struct Routing {
  std::vector<RouteCall> cpu, cuda;
  bool is_forced = false;
  void forget() { cpu.clear(), cuda.clear(); }
};
[[nodiscard]] Routing& routing();
[[nodiscard]] const OpTable& watched_cpu_table();
[[nodiscard]] const OpTable& watched_cuda_table(const DeviceCaps& caps);

// Tokens for which the two calls chose different experts, and how close the CPU's decision was: the score it would have
// taken to turn it.
struct Flip {
  int call, token;
  float margin;
};
[[nodiscard]] std::vector<Flip> flips(const Routing& routing);

}  // namespace gale
