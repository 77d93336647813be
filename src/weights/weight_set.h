#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "weights/checkpoint.h"

namespace gale {

enum class WeightUse : uint8_t { kInUse, kKeptForLater, kNotUsed };

enum class WeightDType : uint8_t { kFloat, kF32 };   // kFloat: f32, f16 or bf16 as the checkpoint has it

struct WeightSpec {
  std::string name;
  Shape shape;
  std::string owner;                       // who asks, for people: "attention", "vision tower"
  WeightUse use = WeightUse::kInUse;
  WeightDType dtype = WeightDType::kFloat;
};

// Who uses which tensor of a checkpoint: every tensor must be claimed exactly once. Problems are collected while layers
// declare what they need and told together at the end. Owns nothing; the checkpoint must outlive it.
class WeightSet {
 public:
  explicit WeightSet(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  [[nodiscard]] bool has(const std::string& name) const { return checkpoint_.find(name) != nullptr; }

  // The named tensor in the mapped file. If it is missing, has another shape or type, or has been claimed before, the
  // problem is noted and a tensor of the expected shape without data comes back.
  Tensor claim(const WeightSpec& spec);

  // Trouble with weights that only a layer can see.
  void note_problem(std::string problem) { problems_.push_back(std::move(problem)); }

  // kCorrupt if anything was wrong or a tensor is left over: how many problems, and the first of them.
  [[nodiscard]] Status finish() const;

  struct Claim { const StoredTensor* tensor; std::string owner; WeightUse use; };
  [[nodiscard]] const std::map<std::string, Claim>& claims() const { return claims_; }
  [[nodiscard]] int64_t num_parameters_in_use() const;
  [[nodiscard]] size_t bytes_in_use() const;

 private:
  const Checkpoint& checkpoint_;
  std::deque<StoredTensor> invented_;  // of a dummy checkpoint; claims point into it
  std::map<std::string, Claim> claims_;
  std::vector<std::string> problems_;
};

// "in use: attention", "kept for later: MTP layer", "not used: vision tower"
[[nodiscard]] std::string describe(const WeightSet::Claim& claim);

// kUnimplemented if the checkpoint holds quantised weights.
[[nodiscard]] Status refuse_quantised_weights(const Checkpoint& checkpoint);

}  // namespace gale
