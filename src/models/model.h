#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "layers/forward_context.h"
#include "layers/random_routing.h"
#include "ops/linear.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace gale {

struct ModelInfo {
  std::string architecture;            // config.json architectures[0]
  int vocab_size = 0;                  // rows of the head; ids without text are masked by the sampler
  int hidden_size = 0;
  int num_layers = 0;
  int num_attention_heads = 0;         // query heads
  int max_position_embeddings = 0;
  DType checkpoint_dtype = DType::kBF16;
  int num_experts = 0, num_experts_a_token = 0;   // routed ones; 0: no MoE
  int64_t num_parameters = 0;          // of the tensors in use
  size_t weight_bytes = 0;             // as packed on the device
  bool has_fp8_weights = false;        // the matrices that may be quantised are
  std::vector<ProductShape> products;  // each once, of all layers and the head; but for matrices of one head each
};

// A loaded model. forward and logits only enqueue work on the context's stream.
class Model {
 public:
  virtual ~Model() = default;
  [[nodiscard]] virtual const ModelInfo& info() const = 0;
  [[nodiscard]] virtual KvLayout kv_layout() const = 0;
  // Bytes of ForwardContext::workspace that a step of max_tokens tokens and max_rows logit rows needs.
  [[nodiscard]] virtual size_t workspace_bytes(int max_tokens, int max_rows) const = 0;
  // Final hidden states after the last norm in the workspace: [T, H], or [R, H] of context.wanted in their order;
  // those of context.layered are there only if these reach the last layer. Writes the cache at slot_mapping.
  [[nodiscard]] virtual Tensor forward(ForwardContext& context) const = 0;
  // out[r] = head * hidden[rows[r]]     rows: i32 [R], or nothing: all of hidden [R, H]; out: f32 [R, V]
  virtual void logits(ForwardContext& context, const Tensor& hidden, const Tensor& rows, const Tensor& out) const = 0;
};

struct LoadOptions {
  std::string model_dir;
  Device* device = nullptr;
  OpContext* ops = nullptr;                                     // for packing
  WeightFormat weight_format = WeightFormat::kAsIs;  // of the matrices that may be quantised when they are loaded;
                                                     // those of an FP8 checkpoint are e4m3 wherever the device has that
  bool is_dummy = false;                                        // random weights: only config.json is read
  RandomRouting dummy_routing = RandomRouting::kBalanced;       // of random weights
  std::function<void(double fraction)> on_progress = {};        // 0 … 1
};

// A model whose weights are claimed and not loaded: for what must be known before bytes are read.
class UnloadedModel {
 public:
  virtual ~UnloadedModel() = default;
  // info().weight_bytes is what load() will take on the device. Good until load(); nothing can be computed with it.
  [[nodiscard]] virtual const Model& model() const = 0;
  // What loading needs on the device beside the weights, for a while.
  [[nodiscard]] virtual size_t staging_bytes() const = 0;
  // Once.
  [[nodiscard]] virtual Result<std::unique_ptr<Model>> load() = 0;
};

// Reads config.json, picks the architecture, claims every tensor of the checkpoint exactly once. Errors name file,
// tensor and shape (kCorrupt), an architecture that is not known (kUnimplemented, listing those that are), a folder
// that is not there.
[[nodiscard]] Result<std::unique_ptr<UnloadedModel>> open_model(const LoadOptions& options);
// The same, and loaded.
[[nodiscard]] Result<std::unique_ptr<Model>> load_model(const LoadOptions& options);

// What `gale inspect` prints and the memory plan starts from; reads headers only.
struct TensorSummary { std::string name; std::string dtype; Shape shape; std::string file; std::string claimed_by; };
struct ModelPlan {
  ModelInfo info;
  KvLayout kv_layout;
  std::vector<TensorSummary> tensors;
};
[[nodiscard]] Result<ModelPlan> plan_model(const std::string& model_dir, bool is_dummy = false);

}  // namespace gale
