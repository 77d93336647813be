#include "weights/weight_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "tensor/convert.h"

namespace gale {
namespace {

constexpr size_t kProblemsShown = 10;

bool is_accepted(DType dtype, WeightDType rule) {
  switch (rule) {
    case WeightDType::kF32: return dtype == DType::kF32;
    case WeightDType::kFloat: return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
    case WeightDType::kMatrix: return dtype == DType::kF8E4M3 || is_accepted(dtype, WeightDType::kFloat);
  }
  return false;
}

std::string_view name_of_rule(WeightDType rule) {
  switch (rule) {
    case WeightDType::kF32: return "f32";
    case WeightDType::kFloat: return "f32, f16 or bf16";
    case WeightDType::kMatrix: return "f32, f16, bf16 or f8e4m3";
  }
  return "";
}

float scale_at(const Tensor& scales, int64_t index) {
  if (scales.dtype == DType::kF32) return scales.as<float>()[index];
  const uint16_t bits = scales.as<uint16_t>()[index];
  return scales.dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

}  // namespace

Tensor WeightSet::claim(const WeightSpec& spec) {
  const Tensor nothing = Tensor::contiguous(nullptr, DType::kF32, spec.shape);
  const StoredTensor* stored = checkpoint_.find(spec.name);
  if (checkpoint_.is_dummy()) {
    const DType dtype = spec.dtype == WeightDType::kF32 ? DType::kF32 : DType::kBF16;
    stored =
        &invented_.emplace_back(StoredTensor{spec.name, Tensor::contiguous(nullptr, dtype, spec.shape), "(random)"});
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
  Tensor out = stored->data;
  if (out.dtype == DType::kF8E4M3) out.scales = claim_scales(spec);
  return out;
}

float* WeightSet::claim_scales(const WeightSpec& spec) {
  const std::string name = spec.name + "_scale";
  const StoredTensor* stored = checkpoint_.find(name);
  if (stored == nullptr) {
    note_problem(fmt::format("{}: f8e4m3 without {}", spec.name, name));
    return nullptr;
  }
  const bool is_new =
      claims_.emplace(name, Claim{stored, spec.owner, spec.use == WeightUse::kInUse ? WeightUse::kScales : spec.use})
          .second;
  CHECK(is_new, "{} is claimed twice", name);
  const Tensor& scales = stored->data;
  const int64_t num_rows = spec.shape[0], count = scales.num_elements();
  const bool is_column = scales.shape.rank() <= 1 || (scales.shape.rank() == 2 && scales.shape[1] == 1);
  if (!is_column || (count != num_rows && count != 1) || !is_accepted(scales.dtype, WeightDType::kFloat)) {
    note_problem(fmt::format("{}: expected f32, f16 or bf16 [{}, 1], or one value, {} has {}", name, num_rows,
                             stored->file, scales.describe()));
    return nullptr;
  }
  if (!reads_data_ || spec.use != WeightUse::kInUse) return nullptr;
  std::vector<float>& out = scales_.emplace_back();
  for (int64_t row = 0; row < num_rows; ++row) out.push_back(scale_at(scales, count == 1 ? 0 : row));
  const auto bad = std::ranges::find_if(out, [](float scale) { return !std::isfinite(scale) || scale <= 0; });
  if (bad != out.end())
    note_problem(fmt::format("{}: row {} is {}, scales are positive numbers", name, bad - out.begin(), *bad));
  return out.data();
}

Tensor WeightSet::without_scales(const Tensor& matrix) {
  if (matrix.dtype != DType::kF8E4M3) return matrix;
  if (matrix.scales == nullptr) return Tensor::contiguous(nullptr, DType::kBF16, matrix.shape);
  std::vector<uint16_t>& out = widened_.emplace_back(static_cast<size_t>(matrix.num_elements()));
  const int64_t num_cols = matrix.shape[1];
  for (int64_t row = 0; row < matrix.shape[0]; ++row) {
    const uint8_t* from = matrix.row<uint8_t>(row);
    for (int64_t k = 0; k < num_cols; ++k)
      out[static_cast<size_t>(row * num_cols + k)] = f32_to_bf16(f8e4m3_to_f32(from[k]) * matrix.scales[row]);
  }
  return Tensor::contiguous(out.data(), DType::kBF16, matrix.shape);
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
    if (claim.use == WeightUse::kInUse || claim.use == WeightUse::kScales) sum += claim.tensor->data.num_bytes();
  }
  return sum;
}

std::string describe(const WeightSet::Claim& claim) {
  switch (claim.use) {
    case WeightUse::kInUse: return "in use: " + claim.owner;
    case WeightUse::kKeptForLater: return "kept for later: " + claim.owner;
    case WeightUse::kNotUsed: return "not used: " + claim.owner;
    case WeightUse::kScales: return "scales: " + claim.owner;
  }
  CHECK(false, "use {}", static_cast<int>(claim.use));
}

}  // namespace gale
