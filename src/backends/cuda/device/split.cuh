#pragma once

#include "backends/cuda/device/flash.cuh"

// Decode attention split over the card. The keys of all (sequence, head) items lie side by side as tiles; every block takes an
// equal, contiguous share of them, whatever the sequences' lengths are, which are read on the device. An item that several blocks
// share is combined from their partial results, in the blocks' order, by whoever comes last: the result depends on the lengths
// in the batch (they say where an item is cut), never on timing.
namespace gale::cuda {

inline constexpr int kMaxSplitBlocks = 1024;
inline constexpr size_t kCounterBytes = 4 * kMaxSplitBlocks * sizeof(uint32_t);   // zero between launches
inline constexpr int kMaxFan = 32;                                                // kMaxFan^2 = kMaxSplitBlocks

// Workspace: counters of two levels, then a (maximum, sum) a row and unnormalised rows, for two slots a block.
struct Partials {
  uint32_t* counters;
  float2* stats;    // [2 * blocks][rows]
  float* values;    // [2 * blocks][rows][width]
};

inline size_t partial_bytes(int num_blocks, int num_rows, int width) {
  return kCounterBytes + size_t{2} * static_cast<size_t>(num_blocks) * static_cast<size_t>(num_rows) *
                             (sizeof(float2) + static_cast<size_t>(width) * sizeof(float));
}

inline Partials partials_of(const Tensor& workspace, int num_blocks, int num_rows, int width) {
  CHECK(num_blocks <= kMaxSplitBlocks, "{} blocks", num_blocks);
  const size_t needed = partial_bytes(num_blocks, num_rows, width);
  CHECK(workspace.num_bytes() >= needed, "attention workspace of {} bytes, {} needed", workspace.num_bytes(), needed);
  auto* base = static_cast<std::byte*>(workspace.data);
  auto* stats = reinterpret_cast<float2*>(base + kCounterBytes);
  return {reinterpret_cast<uint32_t*>(base), stats, reinterpret_cast<float*>(stats + size_t{2} * num_blocks * num_rows)};
}

// A block's share of the tiles, and the sequence in which it begins.
struct Share {
  int begin, end, per_block;
  int sequence, sequence_begin;   // its first tile
  int pitch = 0;   // tiles from an item to the next, of which the last may be missing; 0: as many as it has
};

__device__ inline int tiles_of(int length, int tile) { return max(1, (length + tile - 1) / tile); }   // a padded row has one, empty

// One of how many that share the tiles: the blocks of the grid, or its clusters.
struct Place { int index, count; };
__device__ inline Place place_of_block() { return {static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)}; }

// What these need of shared memory, in ints.
inline constexpr int kShareInts = 40, kShareOfItemsInts = kShareInts + kWarpSize;

// size_of(s): tiles of all items of a sequence, at least one. `shared` holds kShareInts.
template <int kThreads, class SizeOf>
__device__ Share find_share(Place place, int num_seqs, int min_tiles, int* shared, SizeOf&& size_of) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int chunk = (num_seqs + kThreads - 1) / kThreads;
  const int first = threadIdx.x * chunk, last = min(first + chunk, num_seqs);
  int own = 0;
  for (int s = first; s < last; ++s) own += size_of(s);
  int before = warp_prefix_sum(own);
  if (lane == kWarpSize - 1) shared[warp] = before;
  __syncthreads();
  int total = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarpSize; ++w) {
    if (w < warp) before += shared[w];
    total += shared[w];
  }
  before -= own;
  Share share;
  share.per_block = max((total + place.count - 1) / place.count, min_tiles);
  share.begin = place.index * share.per_block;
  share.end = min(share.begin + share.per_block, total);
  if (before <= share.begin && share.begin < before + own) {
    int s = first, at = before;
    for (int size = size_of(s); at + size <= share.begin; size = size_of(s)) {
      at += size;
      ++s;
    }
    shared[32] = s, shared[33] = at;
  }
  __syncthreads();
  share.sequence = shared[32], share.sequence_begin = shared[33];
  return share;
}

// Whole items, or equal parts of them, where that takes hardly longer than the equal shares of find_share: they spare
// the pieces that begin and end in the middle of a block's share. tiles_of_item(s): of each of a sequence's num_items.
// `slack`: tiles that sparing them is worth. `shared` holds kShareOfItemsInts.
template <int kThreads, class TilesOfItem>
__device__ Share find_share_of_items(Place place, int num_seqs, int num_items, int min_tiles, int slack, int* shared,
                                     TilesOfItem&& tiles_of_item) {
  int longest = 0;
  for (int s = threadIdx.x; s < num_seqs; s += kThreads) longest = max(longest, tiles_of_item(s));
  longest = __reduce_max_sync(kFullMask, longest);
  if (threadIdx.x % kWarpSize == 0) shared[kShareInts + threadIdx.x / kWarpSize] = longest;
  Share share = find_share<kThreads>(place, num_seqs, min_tiles, shared,
                                     [&](int s) { return num_items * tiles_of_item(s); });   // with barriers
  for (int w = 0; w < kThreads / kWarpSize; ++w) longest = max(longest, shared[kShareInts + w]);
  const int num_all = num_seqs * num_items, rounds = (num_all + place.count - 1) / place.count;
  const int parts = rounds > 1 ? 1 : place.count / num_all, per_part = max((longest + parts - 1) / parts, min_tiles);
  if (rounds * per_part > share.per_block + slack) return share;
  share.pitch = parts * per_part, share.per_block = rounds * per_part;
  share.begin = min(place.index * share.per_block, num_all * share.pitch);
  share.end = min(share.begin + share.per_block, num_all * share.pitch);
  share.sequence = share.begin / (num_items * share.pitch);
  share.sequence_begin = share.sequence * num_items * share.pitch;
  return share;
}

// The pieces of one item: the blocks that hold a part of it.
struct Pieces {
  int first_block, count;
  __device__ Pieces(int item_begin, int item_end, int per_block)
      : first_block(item_begin / per_block), count((item_end - 1) / per_block - item_begin / per_block + 1) {}
  // Each block has two slots: for the item it finishes and for the one that it begins and others finish.
  __device__ int slot(int piece) const { return piece == 0 ? 2 * first_block + 1 : 2 * (first_block + piece); }
};

// True in all threads of the block that arrives last; what the others wrote before is then visible. Leaves the counter at zero.
// sync(): a barrier of the threads that call this, thread 0 among them.
template <class Sync>
__device__ bool arrives_last(uint32_t* counter, int expected, int* shared, Sync&& sync) {
  __threadfence();
  sync();
  if (threadIdx.x == 0) {
    const bool is_last = atomicAdd(counter, 1u) == static_cast<uint32_t>(expected - 1);
    if (is_last) *counter = 0;
    *shared = is_last;
  }
  sync();
  const bool is_last = *shared != 0;
  if (is_last) __threadfence();
  return is_last;
}
__device__ inline bool arrives_last(uint32_t* counter, int expected, int* shared) {
  return arrives_last(counter, expected, shared, [] { __syncthreads(); });
}

// By how much (a power of 2) scores may exceed the maximum that a running softmax goes by until it takes a new one: its
// probabilities are at most 2^8 then, which costs no precision, and earlier results hardly ever have to be scaled.
inline constexpr float kMaxExcess = 8;

// Turns the maxima (x) of a row's pieces of a softmax into their weights; the maximum and the sum of the whole.
// `pieces`: [count][rows] of maximum and sum, an empty piece with a sum of 0.
template <int kRows>
__device__ __forceinline__ float2 weigh_pieces(float2 (*pieces)[kRows], int count, int row) {
  float maximum = -INFINITY, sum = 0;
  for (int p = 0; p < count; ++p) maximum = fmaxf(maximum, pieces[p][row].x);
  for (int p = 0; p < count; ++p) {
    const float2 stats = pieces[p][row];
    const float weight = stats.y > 0 ? exp2f(stats.x - maximum) : 0.0f;
    pieces[p][row].x = weight;
    sum += stats.y * weight;
  }
  return {maximum, sum};
}

template <int kRows>
struct CombineScratch {
  float2 piece[kMaxFan][kRows];   // maximum and sum of each piece, then its weight in x
  float2 stats[kRows];
  int flag;
};

// Sums pieces begin, begin + step … of an item; emit(row, column, four unnormalised values) for rows < num_rows; `stats` of the
// sum are left in the scratch. All loads of a stage are independent: what counts here is latency.
template <int kRows, int kWidth, int kThreads, class Emit>
__device__ void combine(const Partials& partials, const Pieces& pieces, int begin, int end, int step, int num_rows,
                        CombineScratch<kRows>& scratch, Emit&& emit) {
  const int count = (end - begin + step - 1) / step;
  for (int i = threadIdx.x; i < count * kRows; i += kThreads) {
    const int p = i / kRows, r = i % kRows;
    scratch.piece[p][r] = r < num_rows ? __ldcg(&partials.stats[pieces.slot(begin + p * step) * kRows + r]) : float2{};
  }
  __syncthreads();
  for (int r = threadIdx.x; r < num_rows; r += kThreads) {
    scratch.stats[r] = weigh_pieces(scratch.piece, count, r);
  }
  __syncthreads();
  constexpr int kParts = kWidth / 4, kUnroll = 4;
  for (int first = threadIdx.x; first < num_rows * kParts; first += kThreads * kUnroll) {
    float4 total[kUnroll] = {};
#pragma unroll 4
    for (int p = 0; p < count; ++p) {
      const float* values = partials.values + static_cast<int64_t>(pieces.slot(begin + p * step)) * kRows * kWidth;
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int at = min(first + u * kThreads, num_rows * kParts - 1);
        const float4 x = __ldcg(reinterpret_cast<const float4*>(values) + at);
        const float weight = scratch.piece[p][at / kParts].x;
        total[u].x += x.x * weight, total[u].y += x.y * weight, total[u].z += x.z * weight, total[u].w += x.w * weight;
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int at = first + u * kThreads;
      if (at < num_rows * kParts) emit(at / kParts, at % kParts * 4, total[u]);
    }
  }
}

// Called by a block that has written its piece of an item. The last to arrive combines: at once, or, where the pieces are many,
// in two levels so that a long sequence is not summed by one block alone. emit(row, column, values, sum of probabilities).
template <int kRows, int kWidth, int kThreads, class Emit>
__device__ void combine_if_last(const Partials& partials, const Pieces& pieces, int own_piece, int num_rows,
                                CombineScratch<kRows>& scratch, Emit&& emit) {
  constexpr int kOneLevel = kRows * kWidth <= 2048 ? 16 : 6;   // pieces that one block sums faster than two levels would
  const auto emit_final = [&](int r, int column, const float4& x) { emit(r, column, x, scratch.stats[r].y); };
  int fan = pieces.count;
  if (fan > kOneLevel) {
    fan = 4;
    while (fan * fan < pieces.count) ++fan;
  }
  const int begin = own_piece / fan * fan, end = min(begin + fan, pieces.count);
  if (!arrives_last(&partials.counters[pieces.slot(begin)], end - begin, &scratch.flag)) return;
  if (fan == pieces.count) {
    combine<kRows, kWidth, kThreads>(partials, pieces, begin, end, 1, num_rows, scratch, emit_final);
    return;
  }
  const int slot = pieces.slot(begin);
  // In place: a thread reads every piece of an element before it writes the sum over the first.
  combine<kRows, kWidth, kThreads>(partials, pieces, begin, end, 1, num_rows, scratch, [&](int r, int column, const float4& x) {
    *reinterpret_cast<float4*>(partials.values + (static_cast<int64_t>(slot) * kRows + r) * kWidth + column) = x;
  });
  for (int r = threadIdx.x; r < num_rows; r += kThreads) partials.stats[slot * kRows + r] = scratch.stats[r];
  const int num_groups = (pieces.count + fan - 1) / fan;
  if (!arrives_last(&partials.counters[2 * kMaxSplitBlocks + pieces.slot(0)], num_groups, &scratch.flag)) return;
  combine<kRows, kWidth, kThreads>(partials, pieces, 0, pieces.count, fan, num_rows, scratch, emit_final);
}

}  // namespace gale::cuda
