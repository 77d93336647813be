#pragma once

#include "backends/cuda/device/eight.cuh"
#include "backends/cuda/device/flash_sm90.cuh"

// Cached latents of MLA, side by side in bf16: the rows of sequences' pieces, one piece after another.
namespace gale::cuda {

inline constexpr int kLatentDim = 512, kRopeDim = 64, kNopeDim = 192, kHeadValueDim = 256;

struct GatherView {
  const void* cache;              // rows of kLatentDim + kRopeDim
  Bf16 *latents, *rope_keys;      // [num_rows, kLatentDim], [num_rows, kRopeDim]
  Pages pages;
  int num_rows, num_segments;
  FlashSegment segments[kMaxFlashSegments];
};

inline constexpr int kGatheredRows = 4, kGatherThreads = kGatheredRows * (kLatentDim + kRopeDim) / 8;

// A thread eight elements.
template <class Cache>
__global__ void __launch_bounds__(kGatherThreads) mla_gather_kernel(const __grid_constant__ GatherView view) {
  constexpr int kPieces = (kLatentDim + kRopeDim) / 8;
  const int row = blockIdx.x * kGatheredRows + threadIdx.x / kPieces, column = threadIdx.x % kPieces * 8;
  wait_for_predecessor();
  release_successor();
  if (row >= view.num_rows) return;
  const FlashSegment& segment = segment_of_row(view, row);
  const int64_t from = view.pages.row(segment.sequence, 0, segment.key_begin + row - segment.first_row);
  const Cache* key = static_cast<const Cache*>(view.cache) + from * (kLatentDim + kRopeDim) + column;
  Bf16* to = column < kLatentDim ? view.latents + static_cast<int64_t>(row) * kLatentDim + column
                                 : view.rope_keys + static_cast<int64_t>(row) * kRopeDim + column - kLatentDim;
  *reinterpret_cast<uint4*>(to) = eight_in_bf16(key);
}

inline void launch_gather(Stream& stream, DType cache, const GatherView& view) {
  launch_pdl(stream, cache == DType::kBF16 ? mla_gather_kernel<Bf16> : mla_gather_kernel<Fp8>,
             dim3(ceil_div(view.num_rows, kGatheredRows)), dim3(kGatherThreads), 0, view);
}

}  // namespace gale::cuda
