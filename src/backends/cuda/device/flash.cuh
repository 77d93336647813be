#pragma once

#include <cuda_fp8.h>

#include "backends/cuda/device/common.cuh"
#include "backends/cuda/device/mma.cuh"
#include "ops/attention.h"

// What the attention kernels share: FP8 keys as bf16 operands, where a token's row lies in a paged cache, small instructions.
namespace gale::cuda {

// How much shared memory a block may take: a Hopper card's, or that of any card.
enum class Sizing { kHopper, kAny };

using Bf16 = __nv_bfloat16;
using Fp8 = __nv_fp8_e4m3;

// An e4m3 byte shifted into place is a bf16 that is 2^120 too small, subnormals included: exact and without a conversion.
// Queries and probabilities are lifted by 2^60 each, which keeps every product and sum far from fp32's subnormals; the scale of
// the scores takes one 2^60 back, the output the rest.
template <class Cache>
inline constexpr int kLift = 0;
template <>
inline constexpr int kLift<Fp8> = 60;
template <class Cache>
inline constexpr float kLiftFactor = sizeof(Cache) == 1 ? 0x1p60f : 1.0f;

// Bytes 0 and 2 of x as a pair of bf16, bytes 1 and 3 as another.
__device__ inline void widen(uint32_t x, uint32_t& even, uint32_t& odd) {
  even = (x << 8 & 0x80008000u) | (x << 4 & 0x07f007f0u);
  odd = (x & 0x80008000u) | (x >> 4 & 0x07f007f0u);
}

__device__ inline uint32_t low_halves(uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x5410); }
__device__ inline uint32_t high_halves(uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x7632); }

__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ inline uint32_t lift_pair(uint32_t pair) {
  const __nv_bfloat162 lifted = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&pair), __float2bfloat162_rn(0x1p60f));
  return *reinterpret_cast<const uint32_t*>(&lifted);
}

// load_matrix_x4, each matrix transposed: a lane gets two rows of one column.
__device__ inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

__device__ inline uint4 load_16(const void* p) { return *static_cast<const uint4*>(p); }

__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kFullMask, x, 1));
  return fmaxf(x, __shfl_xor_sync(kFullMask, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(kFullMask, x, 1);
  return x + __shfl_xor_sync(kFullMask, x, 2);
}

// Where the tokens of sequences lie: one row of `heads` heads of `block_size` tokens a block.
struct Pages {
  const int32_t* block_tables;   // [S, max_blocks]
  int64_t table_pitch;
  int block_size, block_shift;   // shift: log2 of block_size, or -1
  int num_heads;                 // 1 for MLA

  // Row of a cache seen as [rows, dim].
  __device__ int row(int sequence, int head, int position) const {
    const int index = block_shift >= 0 ? position >> block_shift : position / block_size;
    const int block = block_tables[sequence * table_pitch + index];
    return (block * num_heads + head) * block_size + (position - index * block_size);
  }
};

inline bool is_cache_type(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kF8E4M3; }

// May the rows of [T, heads, dim] be read and written 16 bytes at a time?
inline bool has_aligned_rows(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 && tensor.strides[0] % 8 == 0 && tensor.strides[1] % 8 == 0;
}

// What scores are multiplied with so that exp2 makes probabilities of them.
inline float score_scale(float scale, DType cache) {
  const double log2_e = 1.4426950408889634;
  return static_cast<float>(scale * log2_e * (cache == DType::kF8E4M3 ? 0x1p60 : 1.0));
}

inline int log2_or_minus_one(int x) {
  int shift = 0;
  while (1 << shift < x) ++shift;
  return 1 << shift == x ? shift : -1;
}

inline Pages pages_of(const AttentionMetadata& metadata, int num_heads) {
  return {metadata.block_tables.as<int32_t>(), metadata.block_tables.strides[0], metadata.block_size,
          log2_or_minus_one(metadata.block_size), num_heads};
}

inline int num_multiprocessors() {
  int device = 0, count = 0;
  CHECK(cudaGetDevice(&device) == cudaSuccess, "cudaGetDevice");
  CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) == cudaSuccess, "multiprocessors");
  return count;
}

inline bool is_hopper() {
  static const bool yes = [] {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major == 9;
  }();
  return yes;
}

inline int shared_memory_limit() {
  int device = 0, bytes = 0;
  CHECK(cudaGetDevice(&device) == cudaSuccess, "cudaGetDevice");
  CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess, "shared memory");
  return bytes;
}

template <class Kernel>
void allow_shared_memory(Kernel* kernel, size_t num_bytes) {
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(num_bytes));
  CHECK(error == cudaSuccess, "{} bytes of shared memory: {}", num_bytes, cudaGetErrorString(error));
}

}  // namespace gale::cuda
