#include "engine/kv_allocation.h"

#include <fmt/format.h>

#include "layers/forward_context.h"
#include "tensor/device.h"

namespace gale {
namespace {

Shape cache_shape(const KvLayerSpec& layer, int64_t num_blocks, int block_size) {
  if (layer.kind == KvKind::kMla) return {num_blocks, block_size, layer.latent_dim + layer.rope_dim};
  return {num_blocks, layer.num_kv_heads, block_size, layer.head_dim};
}
int num_tensors(const KvLayerSpec& layer) { return layer.kind == KvKind::kMla ? 1 : 2; }

}  // namespace

size_t kv_store_bytes(const KvLayout& layout, DType dtype, int64_t num_blocks, int block_size) {
  size_t sum = 0;
  for (const KvLayerSpec& layer : layout.layers) {
    const auto elements = static_cast<size_t>(cache_shape(layer, num_blocks, block_size).num_elements());
    sum += static_cast<size_t>(num_tensors(layer)) * Arena::padded(elements * size_of(dtype));
  }
  return sum;
}

KvStore allocate_kv_store(Arena& arena, const KvLayout& layout, DType dtype, int64_t num_blocks, int block_size) {
  KvStore store;
  for (const KvLayerSpec& layer : layout.layers) {
    const Shape shape = cache_shape(layer, num_blocks, block_size);
    KvLayerView view{.k = arena.allocate(dtype, shape), .v = {}};
    if (num_tensors(layer) == 2) view.v = arena.allocate(dtype, shape);
    store.layers.push_back(view);
  }
  return store;
}

std::string describe_attention(const KvLayout& layout) {
  if (layout.layers.empty()) return "no attention";
  const KvLayerSpec& first = layout.layers.front();
  if (first.kind == KvKind::kMla) return fmt::format("MLA, {} values a token and layer", first.elements_per_token());
  return fmt::format("GQA, {} KV heads of {}", first.num_kv_heads, first.head_dim);
}

}  // namespace gale
