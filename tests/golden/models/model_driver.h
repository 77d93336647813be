#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "ops/op.h"

namespace gale::golden {

inline constexpr int kBlockSize = 16;

// One sequence's place in the cache.
struct Sequence {
  std::vector<int32_t> blocks;
  int length = 0;
};

// Some tokens of a sequence to compute in a step.
struct Piece { Sequence* sequence; std::vector<int32_t> tokens; };

using Rows = std::vector<std::vector<float>>;   // logits, a row a token

// Runs a model as the engine would, metadata filled by hand: paged f32 cache, blocks handed out in an order that is not
// theirs in memory, and a workspace of exactly Model::workspace_bytes.
class ModelDriver {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ModelDriver>> load(const std::string& folder);
  // The model of a config.json with random weights, computed by the ops of this table, which must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<ModelDriver>> load_dummy(const std::string& folder, const OpTable& ops,
                                                                     RandomRouting routing);

  [[nodiscard]] const Model& model() const { return *model_; }
  // One step; the logits of all its tokens in order, or of the wanted rows alone (ForwardContext::wanted), to which the
  // last layer attends alone or not.
  Rows step(const std::vector<Piece>& pieces, const std::optional<std::vector<int32_t>>& wanted = {},
            bool attends_alone = false);
  // The tokens of one sequence in chunks of at most `chunk`.
  Rows prefill(Sequence& sequence, const std::vector<int32_t>& tokens, size_t chunk);
  std::vector<int32_t> greedy(const std::vector<int32_t>& prompt, int num_tokens);

 private:
  explicit ModelDriver(const OpTable& ops);
  Status load_from(LoadOptions options);
  void make_cache();
  void grow(Sequence& sequence, size_t num_tokens);

  static constexpr int kNumBlocks = 64;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  OpContext ops_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Buffer> cache_memory_;
  KvStore kv_;
  int num_used_blocks_ = 0;
};

// Logits of some tokens by the checkpoint in this folder; a failed test and nothing if it does not load.
[[nodiscard]] Rows logits_of(const std::string& folder);

[[nodiscard]] int32_t best_token(const std::vector<float>& logits);

}  // namespace gale::golden
