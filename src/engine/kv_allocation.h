#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gale {

class Arena;
class Device;
enum class DType : uint8_t;
enum class KvCacheDType : uint8_t;
struct KvLayout;
struct KvStore;

// The paged cache of all layers, one tensor (MLA) or two (GQA) a layer, from an arena of kv_store_bytes().
[[nodiscard]] KvStore allocate_kv_store(Arena& arena, const KvLayout& layout, DType dtype, int64_t num_blocks,
                                        int block_size);
[[nodiscard]] size_t kv_store_bytes(const KvLayout& layout, DType dtype, int64_t num_blocks, int block_size);

// What --kv-cache-dtype means for this checkpoint on this device.
[[nodiscard]] DType kv_cache_dtype(KvCacheDType wanted, DType checkpoint, const Device& device);

// In words: "MLA, 576 values a token and layer".
[[nodiscard]] std::string describe_attention(const KvLayout& layout);

}  // namespace gale
