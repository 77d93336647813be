#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "layers/gqa.h"
#include "layers/mla.h"
#include "layers/mlp.h"
#include "layers/moe.h"
#include "models/model.h"

namespace gale {

using AttentionSpec = std::variant<GqaSpec, MlaSpec>;

// kPre: h += f(norm(h)). kSandwich: h += post_norm(f(norm(h))); the post-norms are post_self_attn_layernorm and
// post_mlp_layernorm. In both, post_attention_layernorm is the norm before the MLP.
enum class NormPlacement : uint8_t { kPre, kSandwich };

// What tells one decoder of the family from another.
struct DecoderSpec {
  std::string architecture;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int max_position_embeddings = 0;
  float norm_eps = 0;
  NormPlacement norms = NormPlacement::kPre;
  AttentionSpec attention;
  int64_t dense_inner_size = 0;
  std::vector<bool> is_sparse;           // a layer: MoE or dense MLP
  std::optional<MoeSpec> moe;
  int num_mtp_layers = 0;                // their weights are claimed and kept for later, if the checkpoint has them
  std::string text_prefix = "model.";    // of embed_tokens, layers, norm
  std::string head_prefix;               // of lm_head
};

// One layer: attention and MLP with the norms around them.
struct DecoderLayer {
  DecoderLayer(const WeightScope& scope, const DecoderSpec& spec, bool is_sparse);
  std::variant<GqaAttention, MlaAttention> attention;
  std::variant<Mlp, MoeBlock> mlp;
  RmsNorm input_norm;
  RmsNorm pre_mlp_norm;
  std::optional<RmsNorm> post_attention_norm, post_mlp_norm;   // sandwich
};

// The skeleton all models share: embedding, layers, final norm, head. Which weights it needs is declared when it is
// built; it can run once parameters() are loaded.
class Decoder final : public Model {
 public:
  Decoder(DecoderSpec spec, WeightSet& weights, std::unique_ptr<ParameterStore> parameters);

  [[nodiscard]] const ModelInfo& info() const override { return info_; }
  [[nodiscard]] KvLayout kv_layout() const override;
  [[nodiscard]] size_t workspace_bytes(int max_tokens, int max_rows) const override;
  [[nodiscard]] Tensor forward(ForwardContext& context) const override;
  void logits(ForwardContext& context, const Tensor& hidden, const Tensor& rows, const Tensor& out) const override;

  [[nodiscard]] ParameterStore& parameters() { return *parameters_; }
  void set_products(std::vector<ProductShape> products) { info_.products = std::move(products); }
  void set_weight_bytes(size_t num_bytes) { info_.weight_bytes = num_bytes; }

 private:
  struct Activations;
  template <class Allocator>
  Activations activations(Allocator& allocator, int64_t num_tokens, int64_t num_chosen) const;
  struct Rows;
  void add_and_norm(ForwardContext& context, const Activations& step, const Rows& rows,
                    const std::optional<RmsNorm>& post, const RmsNorm& next, const BlockInput& out) const;

  DecoderSpec spec_;
  ModelInfo info_;
  std::unique_ptr<ParameterStore> parameters_;
  const Tensor* embedding_;              // [V, H] as in the checkpoint
  std::vector<DecoderLayer> layers_;
  RmsNorm final_norm_;
  Linear head_;
};

}  // namespace gale
