#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "layers/random_routing.h"
#include "ops/linear.h"
#include "tensor/device.h"
#include "weights/checkpoint.h"

namespace gale {

// Of a tensor that is kept as it is: whether rows are looked up in it (and elements, if it is a vector), or whether it
// is multiplied with, as a router's [experts, hidden], or added. Random numbers get their spread by it.
enum class TensorUse { kLookup, kFactor, kBias };

// Owns a model's weights on its device. Layers declare what they need and keep the pointers they get; load() packs and
// copies all of it into one arena and fills what the pointers point to. Sources must stay readable until load()
// returns.
class ParameterStore {
 public:
  // format: of the matrices that may be quantised.
  explicit ParameterStore(DType activation_dtype, WeightFormat format = WeightFormat::kAsIs)
      : activation_dtype_(activation_dtype), format_(format) {}
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  [[nodiscard]] DType activation_dtype() const { return activation_dtype_; }
  [[nodiscard]] WeightFormat weight_format() const { return format_; }

  // Matrices for `linear` and its relatives; see PackLinearArgs. All sources have one dtype.
  const PackedWeight* add_matrices(std::vector<Tensor> sources, int64_t num_matrices, RowOrder order,
                                   WeightFormat format = WeightFormat::kAsIs);
  // Sources of equal trailing extents joined along their first, as `dtype`: norm weights, biases, tables, routers.
  const Tensor* add_tensor(std::vector<Tensor> sources, DType dtype, TensorUse use = TensorUse::kLookup);
  // f32 [experts], added to scores before the best num_chosen are taken.
  const Tensor* add_router_bias(const Tensor& source, int num_chosen);

  // What add_matrices was given, in order; until load().
  [[nodiscard]] std::vector<PackShape> matrix_shapes() const;

  // What load() takes on the device for good, and for a while beside it.
  [[nodiscard]] size_t bytes_needed(OpContext& ops) const;
  [[nodiscard]] size_t staging_bytes(const Device& device, bool is_random) const;

  // Once. kOutOfMemory says how much was asked for; kCorrupt what cannot be read. `files`: where sources lie, so that
  // many threads can read them; without it they are copied from memory.
  Status load(Device& device, OpContext& ops, const std::function<void(double)>& on_progress,
              const Checkpoint* files = nullptr);
  // The same without sources: seeded random numbers on the device. Matrices [N, K] get a spread of 0.5 / sqrt(K), so
  // that what a layer adds is small beside the embedding (spread 1): hidden states then differ from token to token.
  // Routers get 1 / sqrt(K): their logits are random directions with a spread of 1, as a trained router's are, so that
  // all experts are chosen about equally often (a wide spread would drive the sigmoid to 1, where the first win ties).
  // Vectors are 1. Biases are 0, but for those of routers that are not to be balanced: added to every token's keys and
  // values alike, they would outweigh what tells tokens apart, and routers would choose the same experts for all.
  Status load_random(Device& device, OpContext& ops, const std::function<void(double)>& on_progress,
                     RandomRouting routing = RandomRouting::kBalanced);
  [[nodiscard]] size_t num_bytes() const { return arena_ ? arena_->capacity_bytes() : 0; }

 private:
  struct Matrices {
    PackedWeight packed;
    std::vector<Tensor> sources;
    int64_t num_matrices;
    RowOrder order;
    WeightFormat format;
  };
  struct Joined {
    Tensor tensor;
    std::vector<Tensor> sources;
    TensorUse use = TensorUse::kLookup;
    int num_chosen = 0;   // of a router's bias
  };

  Status load_joined(Device& device, OpContext& ops, Arena& arena, Joined& item, uint64_t seed,
                     RandomRouting routing);
  [[nodiscard]] const std::vector<float>& skewed_biases(int64_t num_experts, int num_chosen);
  Status load_all(Device& device, OpContext& ops, const std::function<void(double)>& on_progress,
                  const Checkpoint* files, std::optional<RandomRouting> random);
  Status load_in_parallel(Device& device, OpContext& ops, Arena& arena, const Checkpoint* files,
                          const std::function<void()>& report);
  Status load_random_matrices(Device& device, OpContext& ops, Arena& arena, const std::function<void()>& report);
  [[nodiscard]] static bool is_large_table(const Joined& item);
  static void pack(OpContext& ops, Arena& arena, Matrices& item, std::span<const Tensor> sources);
  [[nodiscard]] size_t largest_sources() const;

  DType activation_dtype_;
  WeightFormat format_;
  std::deque<Matrices> matrices_;   // deques: layers hold pointers into them
  std::deque<Joined> joined_;
  std::map<std::pair<int64_t, int>, std::vector<float>> skewed_biases_;   // found once, not for each layer
  std::optional<Arena> arena_;
};

}  // namespace gale
