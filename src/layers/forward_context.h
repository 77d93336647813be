#pragma once

#include <optional>
#include <vector>

#include "ops/attention.h"
#include "ops/op.h"

namespace gale {

enum class KvKind : uint8_t { kGqa, kMla };

// What one layer keeps in the cache for each token.
struct KvLayerSpec {
  KvKind kind = KvKind::kGqa;
  int num_kv_heads = 0;        // GQA
  int head_dim = 0;            // GQA
  int latent_dim = 0;          // MLA: kv_lora_rank
  int rope_dim = 0;            // MLA
  int nope_dim = 0;            // MLA: what a latent expands to in a head's key and value; not kept
  int value_dim = 0;           // MLA
  [[nodiscard]] int64_t elements_per_token() const {
    return kind == KvKind::kMla ? latent_dim + rope_dim : 2LL * num_kv_heads * head_dim;
  }
  bool operator==(const KvLayerSpec&) const = default;
};
struct KvLayout {
  std::vector<KvLayerSpec> layers;
  [[nodiscard]] int64_t elements_per_token() const {
    int64_t sum = 0;
    for (const KvLayerSpec& layer : layers) sum += layer.elements_per_token();
    return sum;
  }
};

// The paged cache of all layers. GQA: k and v [num_blocks, num_kv_heads, block_size, head_dim]; MLA: k holds
// [num_blocks, block_size, latent_dim + rope_dim], v is empty. One block id means the same block in every layer.
struct KvLayerView { Tensor k; Tensor v; };
struct KvStore {
  std::vector<KvLayerView> layers;
};

// A step's last rows, the step's last sequence, may pass through some of the layers only: first_layer … end_layer - 1.
// Between steps their residual lies in `hidden`; a step whose first_layer is 0 begins with their embedding.
struct LayeredRows {
  int64_t num_rows = 0;
  int first_layer = 0, end_layer = 0;
  Tensor hidden;                    // [num_rows, H]
};

// The rows whose final hidden states will be read. Of the others the last layer computes keys and values, and no more.
struct WantedRows {
  Tensor rows;                      // i32 [R]
  // A step of these tokens alone, each the one query of a sequence, slots -1. num_seqs 0: the last layer attends for
  // all rows.
  AttentionMetadata attention = {};
  [[nodiscard]] bool attend_alone() const { return attention.num_seqs > 0; }
};

// One step's input and surroundings, handed down to the attention layer.
struct ForwardContext {
  OpContext& ops;
  Arena& workspace;                 // activations; reset before each forward; sized by Model::workspace_bytes
  AttentionMetadata attention;
  const KvStore& kv;
  Tensor token_ids;                 // i32 [T]; below 0: see EmbeddingArgs
  Tensor last_tokens = {};          // i32 [slots] or empty
  LayeredRows layered = {};
  std::optional<WantedRows> wanted = {};   // nothing: all rows; not with `layered`
};

}  // namespace gale
