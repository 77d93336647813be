#include "models/decoder.h"

#include <algorithm>

#include "layers/workspace.h"
#include "ops/embedding.h"

namespace gale {
namespace {

std::variant<GqaAttention, MlaAttention> make_attention(const WeightScope& scope, const AttentionSpec& spec) {
  if (const auto* gqa = std::get_if<GqaSpec>(&spec)) return GqaAttention(scope, *gqa);
  return MlaAttention(scope, std::get<MlaSpec>(spec));
}

std::variant<Mlp, MoeBlock> make_mlp(const WeightScope& scope, const DecoderSpec& spec, bool is_sparse) {
  if (!is_sparse) return Mlp(scope.owned_by("MLP"), {spec.hidden_size, spec.dense_inner_size});
  CHECK(spec.moe.has_value(), "a sparse layer without experts");
  return MoeBlock(scope.owned_by("MoE"), *spec.moe);
}

std::optional<RmsNorm> post_norm(const WeightScope& scope, const DecoderSpec& spec, std::string_view name) {
  if (spec.norms == NormPlacement::kPre) return std::nullopt;
  return RmsNorm(scope, name, spec.hidden_size, spec.norm_eps);
}

// The scope of everything outside a prefix: "model." and so on are added by child().
WeightScope root_scope(WeightSet& weights, ParameterStore& store) {
  return {weights, store, "", "model", WeightUse::kInUse};
}

const Tensor* claim_embedding(const WeightScope& scope, const DecoderSpec& spec) {
  const Tensor table = scope.claim("embed_tokens.weight", {spec.vocab_size, spec.hidden_size});
  return scope.tensor({table}, table.dtype);
}

// The next-token-prediction layers: one decoder layer each with what joins it to the model. Saves by transformers drop
// them.
void claim_mtp(const WeightScope& text, const DecoderSpec& spec) {
  const auto num_layers = static_cast<int>(spec.is_sparse.size());
  const int64_t hidden = spec.hidden_size;
  for (int i = num_layers; i < num_layers + spec.num_mtp_layers; ++i) {
    const WeightScope scope = text.child("layers." + std::to_string(i) + ".").kept_for_later("MTP layer");
    if (!scope.has("eh_proj.weight")) continue;
    scope.claim_matrix("eh_proj.weight", {hidden, 2 * hidden});
    for (const char* norm : {"enorm.weight", "hnorm.weight", "shared_head.norm.weight"}) scope.claim(norm, {hidden});
    for (const char* table : {"embed_tokens.weight", "shared_head.head.weight"}) {
      if (scope.has(table)) scope.claim_matrix(table, {spec.vocab_size, hidden});
    }
    const DecoderLayer declared(scope, spec, spec.moe.has_value());
  }
}

}  // namespace

DecoderLayer::DecoderLayer(const WeightScope& scope, const DecoderSpec& spec, bool is_sparse)
    : attention(make_attention(scope.child("self_attn.").owned_by("attention"), spec.attention)),
      mlp(make_mlp(scope.child("mlp."), spec, is_sparse)),
      input_norm(scope, "input_layernorm", spec.hidden_size, spec.norm_eps),
      pre_mlp_norm(scope, "post_attention_layernorm", spec.hidden_size, spec.norm_eps),
      post_attention_norm(post_norm(scope, spec, "post_self_attn_layernorm")),
      post_mlp_norm(post_norm(scope, spec, "post_mlp_layernorm")) {}

Decoder::Decoder(DecoderSpec spec, WeightSet& weights, std::unique_ptr<ParameterStore> parameters)
    : spec_(std::move(spec)),
      parameters_(std::move(parameters)),
      embedding_(
          claim_embedding(root_scope(weights, *parameters_).child(spec_.text_prefix).owned_by("embedding"), spec_)),
      final_norm_(root_scope(weights, *parameters_).child(spec_.text_prefix), "norm", spec_.hidden_size,
                  spec_.norm_eps),
      head_(root_scope(weights, *parameters_).child(spec_.head_prefix).owned_by("head").never_quantized(),
            {{"lm_head", spec_.vocab_size}}, spec_.hidden_size) {
  const WeightScope text = root_scope(weights, *parameters_).child(spec_.text_prefix);
  layers_.reserve(spec_.is_sparse.size());
  for (size_t i = 0; i < spec_.is_sparse.size(); ++i) {
    layers_.emplace_back(text.child("layers." + std::to_string(i) + "."), spec_, spec_.is_sparse[i]);
  }
  claim_mtp(text, spec_);
  info_ = {
      .architecture = spec_.architecture,
      .vocab_size = static_cast<int>(spec_.vocab_size),
      .hidden_size = static_cast<int>(spec_.hidden_size),
      .num_layers = static_cast<int>(layers_.size()),
      .num_attention_heads = std::visit([](const auto& attention) { return attention.num_heads; }, spec_.attention),
      .max_position_embeddings = spec_.max_position_embeddings,
      .checkpoint_dtype = embedding_->dtype,
      .num_experts = spec_.moe ? static_cast<int>(spec_.moe->num_experts) : 0,
      .num_experts_a_token = spec_.moe ? spec_.moe->top_k : 0,
      .num_parameters = weights.num_parameters_in_use(),
      .weight_bytes = weights.bytes_in_use(),
      .has_fp8_weights = parameters_->weight_format() == WeightFormat::kF8E4M3};
}

KvLayout Decoder::kv_layout() const {
  KvLayout layout;
  for (const DecoderLayer& layer : layers_) {
    layout.layers.push_back(std::visit([](const auto& attention) { return attention.kv_spec(); }, layer.attention));
  }
  return layout;
}

// What lives through all layers of a step; the layers' own scratch lies behind it and is given back after each.
struct Decoder::Activations {
  Tensor residual;   // [T, H]
  Tensor normed;     // [T, H]: input of the next block, in the end the result
  Tensor block;      // [T, H]: output of the last block
  Tensor quantized;  // [T, H]: normed, for quantised weights; else empty
  Tensor chosen;     // [R, H]: residual of the wanted rows
};

template <class Allocator>
Decoder::Activations Decoder::activations(Allocator& allocator, int64_t num_tokens, int64_t num_chosen) const {
  const Shape shape = {num_tokens, spec_.hidden_size};
  const DType dtype = parameters_->activation_dtype();
  return {.residual = allocator.allocate(dtype, shape),
          .normed = allocator.allocate(dtype, shape),
          .block = allocator.allocate(dtype, shape),
          .quantized = allocate_quantized(allocator, shape, parameters_->weight_format() != WeightFormat::kAsIs),
          .chosen = allocator.allocate(dtype, {num_chosen, spec_.hidden_size})};
}

size_t Decoder::workspace_bytes(int max_tokens, int max_rows) const {
  ArenaMeter step, head;
  activations(step, max_tokens, max_rows);
  head.allocate(parameters_->activation_dtype(), {max_rows, spec_.hidden_size});
  size_t scratch = head.bytes();
  const auto measure = [&](const auto& block) { scratch = std::max(scratch, block.workspace_bytes(max_tokens)); };
  for (const DecoderLayer& layer : layers_) {
    std::visit(measure, layer.attention);
    std::visit(measure, layer.mlp);
  }
  return step.bytes() + scratch;
}

// Rows begin … end - 1 of a step, on their way through layers first_layer … end_layer - 1.
struct Decoder::Rows {
  Tensor residual;   // [end - begin, H]
  int64_t begin = 0, end = 0;
  int first_layer = 0, end_layer = 0;
  [[nodiscard]] bool are_in(int layer) const { return begin < end && first_layer <= layer && layer < end_layer; }
  [[nodiscard]] Tensor of(const Tensor& tensor) const { return rows_of(tensor, begin, end); }
  [[nodiscard]] BlockInput of(const BlockInput& input) const { return {of(input.plain), of(input.quantized)}; }
};

// residual += block (normed first in the sandwich); out = next(residual)
void Decoder::add_and_norm(ForwardContext& context, const Activations& step, const Rows& rows,
                           const std::optional<RmsNorm>& post, const RmsNorm& next, const BlockInput& all_out) const {
  const Tensor block = rows.of(step.block);
  const BlockInput out = rows.of(all_out);
  if (post) {
    norm_add_rms_norm(context.ops, {.out = out.plain, .residual = rows.residual, .in = block,
                                    .post_weight = *post->weight, .weight = *next.weight, .eps = next.eps,
                                    .quantized = out.quantized});
  } else {
    add_rms_norm(context.ops, {.out = out.plain, .residual = rows.residual, .in = block, .weight = *next.weight,
                               .eps = next.eps, .quantized = out.quantized});
  }
}

namespace {

// What this block reads of the two.
template <class Block>
BlockInput input_of(const Block& block, const Tensor& normed, const Tensor& quantized) {
  const bool reads_plain = std::visit([](const auto& b) { return b.reads_plain(); }, block);
  return {reads_plain ? normed : Tensor{}, quantized};
}

}  // namespace

// Rows that pass through some layers only are the last ones; in the layers between the others go alone.
Tensor Decoder::forward(ForwardContext& context) const {
  CHECK(context.kv.layers.size() == layers_.size(), "{} cache layers for {} layers", context.kv.layers.size(),
        layers_.size());
  const int64_t num_rows = context.token_ids.shape[0], num_whole = num_rows - context.layered.num_rows;
  const auto num_layers = static_cast<int>(layers_.size());
  const int64_t num_wanted = context.wanted ? context.wanted->rows.shape[0] : 0;
  CHECK(!context.wanted || num_whole == num_rows, "wanted rows beside layered ones");
  const Activations step = activations(context.workspace, num_rows, num_wanted);
  Rows whole{step.residual.slice(0, 0, num_whole), 0, num_whole, 0, num_layers};
  const Rows layered{context.layered.hidden, num_whole, num_rows, context.layered.first_layer,
                     context.layered.end_layer};
  ForwardContext without_layered = context;
  if (num_whole < num_rows)
    without_layered.attention = part_of(context.attention, 0, context.attention.num_seqs - 1);
  const auto input_at = [&](int i) {   // the head, behind the final norm, is never quantised
    if (i == num_layers) return BlockInput{step.normed, {}};
    return input_of(layers_[static_cast<size_t>(i)].attention, step.normed, step.quantized);
  };
  const auto norm_at = [&](int i) -> const RmsNorm& {
    return i == num_layers ? final_norm_ : layers_[static_cast<size_t>(i)].input_norm;
  };

  for (const Rows& rows : {whole, layered}) {
    if (rows.begin == rows.end) continue;
    if (rows.first_layer == 0) {
      embedding(context.ops, {.out = rows.residual, .ids = rows.of(context.token_ids), .table = *embedding_,
                              .last_tokens = context.last_tokens});
    }
    const RmsNorm& first = norm_at(rows.first_layer);
    const BlockInput input = rows.of(input_at(rows.first_layer));
    rms_norm(context.ops, {.out = input.plain, .in = rows.residual, .weight = *first.weight, .eps = first.eps,
                           .quantized = input.quantized});
  }
  for (int i = 0; i < num_layers; ++i) {
    const DecoderLayer& layer = layers_[static_cast<size_t>(i)];
    const bool has_layered = layered.are_in(i);
    Rows present = whole;   // those of this layer
    if (has_layered) present.end = num_rows;
    if (present.begin == present.end) continue;
    ForwardContext& of_layer = has_layered ? context : without_layered;
    const BlockInput attention_input = present.of(input_at(i));
    const WantedRows* wanted = i + 1 == num_layers && context.wanted ? &*context.wanted : nullptr;
    if (wanted != nullptr) {
      present.end = num_wanted, whole = {step.chosen, 0, num_wanted, i, num_layers};
      gather_rows(context.ops, {.out = step.chosen, .in = step.residual, .rows = wanted->rows});
    }
    const Tensor block = present.of(step.block);
    const auto add = [&](const std::optional<RmsNorm>& post, const RmsNorm& next, const BlockInput& out) {
      if (whole.are_in(i)) add_and_norm(context, step, whole, post, next, out);
      if (has_layered) add_and_norm(context, step, layered, post, next, out);
    };
    std::visit(
        [&](const auto& attention) {
          attention.forward(of_layer, context.kv.layers[static_cast<size_t>(i)], block, attention_input, wanted);
        },
        layer.attention);
    if (wanted != nullptr && num_wanted == 0) break;
    const BlockInput mlp_input = input_of(layer.mlp, step.normed, step.quantized);
    add(layer.post_attention_norm, layer.pre_mlp_norm, mlp_input);
    std::visit([&](const auto& mlp) { mlp.forward(of_layer, block, present.of(mlp_input)); }, layer.mlp);
    add(layer.post_mlp_norm, norm_at(i + 1), input_at(i + 1));
  }
  return context.wanted ? step.normed.slice(0, 0, num_wanted) : step.normed;
}

void Decoder::logits(ForwardContext& context, const Tensor& hidden, const Tensor& rows, const Tensor& out) const {
  if (rows.is_empty()) return head_.apply(context.ops, out, {hidden, {}});
  const WorkspaceScope scope(context.workspace);
  const Tensor chosen = context.workspace.allocate(parameters_->activation_dtype(), {rows.shape[0], spec_.hidden_size});
  gather_rows(context.ops, {.out = chosen, .in = hidden, .rows = rows});
  head_.apply(context.ops, out, {chosen, {}});
}

}  // namespace gale
