#include "weights/weight_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace gale {
namespace {

constexpr size_t kProblemsShown = 10;

bool is_accepted(DType dtype, WeightDType rule) {
  switch (rule) {
    case WeightDType::kF32: return dtype == DType::kF32;
    case WeightDType::kFloat: return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
  }
  return false;
}

std::string_view name_of_rule(WeightDType rule) { return rule == WeightDType::kF32 ? "f32" : "f32, f16 or bf16"; }

}  // namespace

Tensor WeightSet::claim(const WeightSpec& spec) {
  const Tensor nothing = Tensor::contiguous(nullptr, DType::kF32, spec.shape);
  const StoredTensor* stored = checkpoint_.find(spec.name);
  if (checkpoint_.is_dummy()) {
    const DType dtype = spec.dtype == WeightDType::kF32 ? DType::kF32 : DType::kBF16;
    stored = &invented_.emplace_back(StoredTensor{spec.name, Tensor::contiguous(nullptr, dtype, spec.shape), "(random)"});
  }
  if (stored == nullptr) {
    note_problem(
        fmt::format("{}: missing, expected {} {}", spec.name, name_of_rule(spec.dtype), spec.shape.to_string()));
    return nothing;
  }
  const auto [other, is_new] = claims_.emplace(spec.name, Claim{stored, spec.owner, spec.use});
  CHECK(is_new, "{} is claimed by {} and by {}", spec.name, other->second.owner, spec.owner);
  if (!(stored->data.shape == spec.shape) || !is_accepted(stored->data.dtype, spec.dtype)) {
    note_problem(fmt::format("{}: expected {} {}, {} has {}", spec.name, name_of_rule(spec.dtype),
                             spec.shape.to_string(), stored->file, stored->data.describe()));
    return nothing;
  }
  return stored->data;
}

Status WeightSet::finish() const {
  std::vector<std::string> problems = problems_;
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    if (claims_.contains(name)) continue;
    problems.push_back(fmt::format("{}: not expected, {} has {}", name, tensor->file, tensor->data.describe()));
  }
  if (problems.empty()) return {};
  const size_t num_shown = std::min(problems.size(), kProblemsShown);
  const std::string rest = problems.size() > num_shown ? fmt::format("; and {} more", problems.size() - num_shown) : "";
  return fail(ErrorCode::kCorrupt, "{}: {} {} with the weights: {}{}", checkpoint_.folder(), problems.size(),
              problems.size() == 1 ? "problem" : "problems",
              fmt::join(problems.begin(), problems.begin() + static_cast<std::ptrdiff_t>(num_shown), "; "), rest);
}

int64_t WeightSet::num_parameters_in_use() const {
  int64_t sum = 0;
  for (const auto& [name, claim] : claims_) {
    if (claim.use == WeightUse::kInUse) sum += claim.tensor->data.num_elements();
  }
  return sum;
}

size_t WeightSet::bytes_in_use() const {
  size_t sum = 0;
  for (const auto& [name, claim] : claims_) {
    if (claim.use == WeightUse::kInUse) sum += claim.tensor->data.num_bytes();
  }
  return sum;
}

std::string describe(const WeightSet::Claim& claim) {
  switch (claim.use) {
    case WeightUse::kInUse: return "in use: " + claim.owner;
    case WeightUse::kKeptForLater: return "kept for later: " + claim.owner;
    case WeightUse::kNotUsed: return "not used: " + claim.owner;
  }
  CHECK(false, "use {}", static_cast<int>(claim.use));
}

Status refuse_quantised_weights(const Checkpoint& checkpoint) {
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (tensor->data.dtype != DType::kF8E4M3) continue;
    const bool has_scale = checkpoint.find(name + "_scale") != nullptr;
    return fail(ErrorCode::kUnimplemented,
                "{}: {} is {}{}: FP8 checkpoints are not supported by this build yet; use the bf16 checkpoint",
                checkpoint.folder(), name, tensor->data.describe(), has_scale ? " with " + name + "_scale" : "");
  }
  return {};
}

}  // namespace gale
