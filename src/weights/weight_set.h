#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "weights/checkpoint.h"

namespace gale {

enum class WeightUse : uint8_t { kInUse, kKeptForLater, kNotUsed, kScales };   // kScales: of a quantised weight in use

// kFloat: f32, f16 or bf16 as the checkpoint has it; kMatrix: that, or e4m3 with scales.
enum class WeightDType : uint8_t { kFloat, kF32, kMatrix };

struct WeightSpec {
  std::string name;
  Shape shape;
  std::string owner;                       // who asks, for people: "attention", "vision tower"
  WeightUse use = WeightUse::kInUse;
  WeightDType dtype = WeightDType::kFloat;
};

// Who uses which tensor of a checkpoint: every tensor must be claimed exactly once. Problems are collected while layers
// declare what they need and told together at the end. Owns nothing; the checkpoint must outlive it.
//
// A matrix X.weight in e4m3 comes with its X.weight_scale: one factor a row, [rows, 1] or [rows], or one for all, [1];
// f32, f16 or bf16. Its Tensor then carries f32 scales, one a row; value = weight * scale.
class WeightSet {
 public:
  // reads_data: false where only names and shapes count: nothing behind the headers is touched.
  explicit WeightSet(const Checkpoint& checkpoint, bool reads_data = true)
      : checkpoint_(checkpoint), reads_data_(reads_data) {}

  [[nodiscard]] bool has(const std::string& name) const { return checkpoint_.find(name) != nullptr; }

  // The named tensor in the mapped file. If it is missing, has another shape or type, or has been claimed before, the
  // problem is noted and a tensor of the expected shape without data comes back.
  Tensor claim(const WeightSpec& spec);
  // The values of a claimed matrix with scales in bf16, in memory of this set; others as they are.
  Tensor without_scales(const Tensor& matrix);

  // Whether the checkpoint has matrices in e4m3 with scales.
  [[nodiscard]] bool has_scaled_matrices() const { return checkpoint_.has_scaled_matrices(); }

  // Trouble with weights that only a layer can see.
  void note_problem(std::string problem) { problems_.push_back(std::move(problem)); }

  // kCorrupt if anything was wrong or a tensor is left over: how many problems, and the first of them.
  [[nodiscard]] Status finish() const;

  struct Claim { const StoredTensor* tensor; std::string owner; WeightUse use; };
  [[nodiscard]] const std::map<std::string, Claim>& claims() const { return claims_; }
  [[nodiscard]] int64_t num_parameters_in_use() const;
  [[nodiscard]] size_t bytes_in_use() const;

 private:
  [[nodiscard]] float* claim_scales(const WeightSpec& spec);   // null if there is a problem, or nothing is to be read

  const Checkpoint& checkpoint_;
  const bool reads_data_;
  std::deque<std::vector<float>> scales_;
  std::deque<std::vector<uint16_t>> widened_;
  std::deque<StoredTensor> invented_;  // of a dummy checkpoint; claims point into it
  std::map<std::string, Claim> claims_;
  std::vector<std::string> problems_;
};

// "in use: attention", "kept for later: MTP layer", "not used: vision tower"
[[nodiscard]] std::string describe(const WeightSet::Claim& claim);

}  // namespace gale
