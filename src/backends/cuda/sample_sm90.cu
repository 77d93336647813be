// The draw on Hopper: a cluster of eight blocks holds a row of logits in shared memory, so that it is read once; a
// thread looks at its own logits alone. Few rows: big blocks; many: two blocks an SM, so that one loads while the
// other computes. Borders of top-k and top-p: a histogram of 256 bins of logits below the best, one of the bin that
// holds the border, then the few tokens that are left, compared with each other; counts are exact and masses are
// fixed-point numbers, so order does not matter. Random numbers: only for tokens that the largest noise could still
// lift above the score of the largest logit; and bounds of their scores, which take fast instructions alone, leave
// one or two whose scores are computed as the CPU computes them. Limited by the reading of the logits for greedy
// rows, by integer multiplications of the random numbers where all tokens are probable.
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/logits.cuh"
#include "backends/cuda/ops.h"
#include "ops/philox.h"

namespace gale::cuda {
namespace {

constexpr int kBlocks = 8;                             // a row
constexpr int kWidth = 4;                              // logits a copy
constexpr int kMaxSlice = 24576;                       // logits a block
constexpr int kParts = 4;                              // a thread's copies are awaited in so many steps
constexpr int kFewRows = 12;                           // clusters of big blocks that find room at once
constexpr int kBins = 256, kCopies = 8;                // of a histogram; the copies spread equal bins
constexpr float kBinsPerUnit = 8.0f;                   // of (largest logit - logit) / temperature
constexpr float kUnit = 1 << 20;                       // fixed-point one of a mass: kMaxSlice / kCopies of them fit
constexpr int kListed = 1024;
constexpr float kLog2E = 1.44269504f;

struct Shared {
  union {
    uint32_t histogram[kBins][kCopies];
    struct { uint32_t keys[kListed], weights[kListed]; } all;   // the lists of all blocks
  };
  uint32_t keys[kListed], weights[kListed];            // this block's list
  int num_listed;
  float bins[2][kBins];                                // of this block; two passes may be in sight of the cluster
  float upto[kBins];
  float scan[kBins / kWarpSize];
  int found;
  uint32_t border;
  float sums[33];
  float total[2];
  Best bests[33];
  Best best[2];
};

template <class T>
__device__ T load_word(const T* p, int block_rank) {
  static_assert(sizeof(T) == 4);
  uint32_t bits;
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %1, %2;\nld.shared::cluster.u32 %0, [remote];\n}"
      : "=r"(bits) : "r"(shared_address(p)), "r"(block_rank) : "memory");
  return *reinterpret_cast<T*>(&bits);
}

__device__ float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A block's part of a row; thread t has the packs t, t + kThreads, …
template <int kThreads>
struct Slice {
  float* logits;                                       // shared memory; -inf behind the vocabulary
  int first, num_packs;                                // first token
  int num_passes = 0;

  template <class F>
  __device__ void each_pack(int begin, int end, F&& f) const {
    for (int pack = begin * kThreads + static_cast<int>(threadIdx.x); pack < min(end * kThreads, num_packs);
         pack += kThreads)
      f(reinterpret_cast<float4*>(logits)[pack], pack * kWidth);
  }
  template <class F>
  __device__ void each(F&& f) const {
    each_pack(0, num_packs, [&](const float4& x, int) { f(x.x), f(x.y), f(x.z), f(x.w); });
  }

  __device__ void request(const float* row, int vocab, bool aligned, int begin, int end) {
    each_pack(begin, end, [&](float4& x, int at) {
      const int token = first + at;
      if (aligned && token + kWidth <= vocab) return copy_async_16(&x, row + token, 16);
      float value[kWidth];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) value[j] = token + j < vocab ? row[token + j] : -INFINITY;
      x = {value[0], value[1], value[2], value[3]};
    });
    commit_copies();
  }

  // The best of this thread; +inf where a NaN is, which no usable row has.
  __device__ Best load(const float* row, int vocab, bool aligned) {
    const int per_part = ((num_packs + kThreads - 1) / kThreads + kParts - 1) / kParts;
    for (int part = 0; part < kParts; ++part) request(row, vocab, aligned, part * per_part, (part + 1) * per_part);
    Best best{-INFINITY, INT32_MAX};
    bool holds_nan = false;
    const auto look = [&](int part) {
      each_pack(part * per_part, (part + 1) * per_part, [&](const float4& x, int at) {
        const float value[kWidth] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          holds_nan |= value[j] != value[j];
          if (value[j] > best.value) best = {value[j], first + at + j};
        }
      });
    };
    static_assert(kParts == 4);
    wait_for_copies<3>(), look(0);
    wait_for_copies<2>(), look(1);
    wait_for_copies<1>(), look(2);
    wait_for_copies<0>(), look(3);
    return holds_nan ? Best{INFINITY, INT32_MAX} : best;
  }

  // The best of the cluster.
  __device__ Best cluster_best(Best best, Shared& shared) {
    best = block_best(best, shared.bests);
    Best& own = shared.best[num_passes++ % 2];
    if (threadIdx.x == 0) own = best;
    cluster_sync();
    for (int rank = 0; rank < kBlocks; ++rank) {
      const Best other{load_word(&own.value, rank), load_word(&own.index, rank)};
      if (is_better(other, best)) best = other;
    }
    return best;
  }
};

// --- borders ---------------------------------------------------------------------------------------------

// What a border is looked for among: tokens at or above `least`, each with weight 1 or with its probability relative to the best.
struct Weighting {
  float maximum, inverse, temperature;
  uint32_t least;
  bool is_mass;

  // Masses leave out what lies further than all bins below the best: parts in 10^9.
  __device__ bool counts(float x) const {
    return x != -INFINITY && key_of(x) >= least && (!is_mass || distance(x) < static_cast<float>(kBins - 1));
  }
  // In bins below the best; does not fall where logits fall.
  __device__ float distance(float x) const {
    return fminf((maximum - x) * inverse * kBinsPerUnit, static_cast<float>(kBins - 1));
  }
  // Of a token so many bins below where its bin begins.
  __device__ uint32_t weight(float below) const {
    return is_mass ? __float2uint_rn(exp2_fast(below * (-kLog2E / kBinsPerUnit)) * kUnit) : 1;
  }
  // The factor of weights in a bin that begins at this distance.
  __device__ float scale(float begin) const { return is_mass ? exp2f(begin * (-kLog2E / kBinsPerUnit)) / kUnit : 1.0f; }
};

// A distance as a bin and how far below its beginning. Bins of bins are found the same way.
struct Place { int bin; float below; };

__device__ Place place_of(float distance) {
  const int bin = __float2int_rd(distance);
  return {bin, distance - static_cast<float>(bin)};
}

// The first bin with which the sum reaches `wanted`, and the sum before it; the last bin that has anything if none does.
struct Found { int bin; float before, total; };

// add(histogram) fills this block's histogram; scale(bin) makes sums of it. `wanted` from the total.
template <int kThreads, class Add, class Scale, class Wanted>
__device__ Found find_bin(Slice<kThreads>& slice, Shared& shared, Add&& add, Scale&& scale, Wanted&& wanted) {
  const int t = threadIdx.x, lane = t % kWarpSize, warp = t / kWarpSize;
  for (int i = t; i < kBins * kCopies; i += kThreads) shared.histogram[i / kCopies][i % kCopies] = 0;
  if (t == 0) shared.found = kBins;
  __syncthreads();
  add([&](int bin, uint32_t weight) { atomicAdd(&shared.histogram[bin][lane % kCopies], weight); });
  __syncthreads();
  float(&own)[kBins] = shared.bins[slice.num_passes++ % 2];
  if (t < kBins) {
    uint64_t sum = 0;
#pragma unroll
    for (int copy = 0; copy < kCopies; ++copy) sum += shared.histogram[t][copy];
    own[t] = static_cast<float>(sum) * scale(t);
  }
  cluster_sync();
  float upto = 0, mine = 0;
  if (t < kBins) {
    for (int rank = 0; rank < kBlocks; ++rank) mine += load_word(&own[t], rank);
    upto = warp_prefix_sum(mine);
    if (lane == kWarpSize - 1) shared.scan[warp] = upto;
  }
  __syncthreads();
  if (t < kBins) {
    float before = 0;
    for (int w = 0; w < warp; ++w) before += shared.scan[w];
    shared.upto[t] = upto += before;
  }
  __syncthreads();
  const float total = shared.upto[kBins - 1], goal = wanted(total);
  if (t < kBins && upto >= goal) atomicMin(&shared.found, t);
  __syncthreads();
  int bin = shared.found;
  __syncthreads();
  if (bin == kBins) {                                  // rounding: masses of finer bins fell short
    if (t < kBins && mine > 0) atomicMin(&shared.found, -1 - t);
    __syncthreads();
    bin = shared.found < 0 ? -1 - shared.found : kBins - 1;
    __syncthreads();
  }
  return {bin, bin == 0 ? 0.0f : shared.upto[bin - 1], total};
}

// Where a list would not hold the tokens between which the border lies: one bit of the key a pass.
template <int kThreads>
__device__ uint32_t bisect_border(Slice<kThreads>& slice, const Weighting& weighting, float wanted, Shared& shared) {
  uint32_t border = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t key = border | 1u << bit;
    float sum = 0;
    slice.each([&](float x) {
      if (!weighting.counts(x) || key_of(x) < key) return;
      sum += weighting.is_mass ? expf((x - weighting.maximum) / weighting.temperature) : 1.0f;
    });
    float& own = shared.total[slice.num_passes++ % 2];
    sum = block_sum(sum, shared.sums);
    if (threadIdx.x == 0) own = sum;
    cluster_sync();
    float total = 0;
    for (int rank = 0; rank < kBlocks; ++rank) total += load_word(&own, rank);
    if (total >= wanted) border = key;
  }
  return border;
}

// The least key among listed tokens above which less than `wanted` lies; ~0 if there is none.
template <int kThreads>
__device__ uint32_t border_of_list(Shared& shared, int num_entries, float before, float scale, float wanted) {
  if (threadIdx.x == 0) shared.border = ~0u;
  __syncthreads();
  for (int i = threadIdx.x; i < num_entries; i += kThreads) {
    const uint32_t key = shared.all.keys[i];
    uint64_t above = 0;
    for (int j = 0; j < num_entries; ++j) above += shared.all.keys[j] > key ? shared.all.weights[j] : 0u;
    if (before + static_cast<float>(above) * scale < wanted) atomicMin(&shared.border, key);
  }
  __syncthreads();
  return shared.border;
}

// The smallest key whose token still counts if the best are taken until their weight reaches wanted(weight of all); 0 if all are needed.
template <int kThreads, class Wanted>
__device__ uint32_t find_border(Slice<kThreads>& slice, const Weighting& weighting, Shared& shared, Wanted&& wanted) {
  const Found bin = find_bin(
      slice, shared,
      [&](auto&& add) {
        slice.each([&](float x) {
          if (!weighting.counts(x)) return;
          const Place place = place_of(weighting.distance(x));
          add(place.bin, weighting.weight(place.below));
        });
      },
      [&](int b) { return weighting.scale(static_cast<float>(b)); }, wanted);
  const float goal = wanted(bin.total);
  if (bin.total < goal) return 0;
  // f(sub-bin, how far below where it begins, x) for the tokens in the bin that was found.
  const auto each_in_bin = [&](auto&& f) {
    const float begin = static_cast<float>(bin.bin);
    slice.each([&](float x) {
      const float below = weighting.distance(x) - begin;
      if (!(below >= 0 && below < 1) || !weighting.counts(x)) return;
      const Place place = place_of(below * kBins);
      f(place.bin, place.below / kBins, x);
    });
  };
  const Found sub = find_bin(
      slice, shared,
      [&](auto&& add) { each_in_bin([&](int s, float below, float) { add(s, weighting.weight(below)); }); },
      [&](int s) { return weighting.scale(static_cast<float>(bin.bin) + static_cast<float>(s) / kBins); },
      [&](float) { return goal - bin.before; });
  if (threadIdx.x == 0) shared.num_listed = 0;
  __syncthreads();
  each_in_bin([&](int s, float below, float x) {
    if (s != sub.bin) return;
    const int at = atomicAdd(&shared.num_listed, 1);
    if (at < kListed) shared.keys[at] = key_of(x), shared.weights[at] = weighting.weight(below);
  });
  ++slice.num_passes;
  cluster_sync();
  int num_entries = 0;
  for (int rank = 0; rank < kBlocks; ++rank) num_entries += load_word(&shared.num_listed, rank);
  if (num_entries > kListed) return bisect_border(slice, weighting, goal, shared);
  int at = 0;
  for (int rank = 0; rank < kBlocks; ++rank) {
    const int count = load_word(&shared.num_listed, rank);
    for (int i = threadIdx.x; i < count; i += kThreads)
      shared.all.keys[at + i] = load_word(&shared.keys[i], rank),
                           shared.all.weights[at + i] = load_word(&shared.weights[i], rank);
    at += count;
  }
  __syncthreads();
  const float scale = weighting.scale(static_cast<float>(bin.bin) + static_cast<float>(sub.bin) / kBins);
  return border_of_list<kThreads>(shared, num_entries, bin.before + sub.before, scale, goal);
}

// The key below which a row's tokens are out, after top-k and top-p.
template <int kThreads>
__device__ uint32_t border_of(Slice<kThreads>& slice, float maximum, float temperature, int top_k, float top_p,
                              int vocab, Shared& shared) {
  Weighting weighting{maximum, fminf(1.0f / temperature, 1e38f), temperature, 0, false};
  if (top_k > 0 && top_k < vocab)
    weighting.least =
        min(find_border(slice, weighting, shared, [&](float) { return static_cast<float>(top_k); }), key_of(maximum));
  if (top_p >= 1.0f) return weighting.least;
  weighting.is_mass = true;
  const uint32_t kept = find_border(slice, weighting, shared, [&](float total) { return top_p * total; });
  return max(weighting.least, min(kept, key_of(maximum)));   // the best token stays, whatever is wanted
}

// --- the draw --------------------------------------------------------------------------------------------

// What a token's score can be at most and at least, in units of log 2, from its bits without slow logarithms: with v = 1 - u,
// v <= -log(u) <= v / (1 - v).
struct Bounds { float upper, lower; };

struct Draw {
  uint64_t seed, position;
  float temperature, inverse, maximum, min_p;
  uint32_t border;

  __device__ float scaled(float x) const { return x * inverse * kLog2E; }
  // Allows for errors of bounds and scores of this size.
  __device__ static float slack(float score) { return 0.02f + 2e-6f * fabsf(score); }

  __device__ Bounds bounds_of(float x, uint32_t bits) const {
    const float rest = static_cast<float>(~bits), upper = scaled(x) + 32.0f - log2_fast(rest + 0.5f);
    return {upper, upper + log2_fast(1.0f - rest * 0x1p-32f)};
  }
  __device__ Best score_of(float x, int token, uint32_t bits) const {
    return {x / temperature + gumbel_of_bits(bits), token};
  }
  __device__ uint32_t bits_of(int token) const { return sample_bits(seed, position, static_cast<uint32_t>(token)); }

  // Did top-k, top-p and min-p leave it?
  __device__ bool allows(float x) const {
    if (key_of(x) < border || x == -INFINITY) return false;
    return !(min_p > 0) || !(expf((x - maximum) / temperature) < min_p);
  }
};

// A thread's most promising tokens: the one with the highest upper bound, and the second highest bound.
struct Promising { float upper = -INFINITY, second = -INFINITY, lower = -INFINITY; int at = -1; };

// Looks at all of a thread's tokens that even the largest noise could lift to `floor`, a score in units of log 2 that some token has.
template <int kThreads>
__device__ Promising look_at_tokens(const Slice<kThreads>& slice, const Draw& draw, float floor) {
  constexpr int kBatch = 32 / kWidth;                  // packs: a bit a token
  const int num_rounds = (slice.num_packs + kThreads - 1) / kThreads;
  const float hopeless = floor - kMaxGumbel * kLog2E - Draw::slack(floor);
  const bool has_min_p = draw.min_p > 0;
  Promising best;
  for (int round = 0; round < num_rounds; round += kBatch) {
    uint32_t open = 0;
    int place = 0;
    slice.each_pack(round, round + kBatch, [&](const float4& x, int) {
      const float value[kWidth] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        bool is_open = !(draw.scaled(value[j]) < hopeless) && value[j] != -INFINITY && key_of(value[j]) >= draw.border;
        if (has_min_p && is_open) is_open = draw.allows(value[j]);
        open |= static_cast<uint32_t>(is_open) << (place + j);
      }
      place += kWidth;
    });
    while (open != 0) {   // the four of a pack share a random number's work
      const int shift = (__ffs(static_cast<int>(open)) - 1) / kWidth * kWidth;
      const uint32_t wanted = open >> shift & 15u;
      open &= ~(15u << shift);
      const int at = ((round + shift / kWidth) * kThreads + static_cast<int>(threadIdx.x)) * kWidth;
      const PhiloxWords bits = sample_bits_of_four(draw.seed, draw.position, static_cast<uint32_t>(slice.first + at));
      const float4 x = *reinterpret_cast<const float4*>(slice.logits + at);
      const float value[kWidth] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        if ((wanted >> j & 1u) == 0) continue;
        const Bounds bounds = draw.bounds_of(value[j], bits.word[j]);
        best.second = fmaxf(best.second, fminf(best.upper, bounds.upper));
        best.at = bounds.upper > best.upper ? at + j : best.at;
        best.upper = fmaxf(best.upper, bounds.upper), best.lower = fmaxf(best.lower, bounds.lower);
      }
    }
  }
  return best;
}

// Each thread's draw among its tokens, as far as it matters: a token below the best of the block is left out.
template <int kThreads>
__device__ Best draw_token(const Slice<kThreads>& slice, const Draw& draw, const Best& top, Shared& shared) {
  const float first = draw.allows(top.value) ? draw.bounds_of(top.value, draw.bits_of(top.index)).lower : -INFINITY;
  const Promising own = look_at_tokens(slice, draw, first);
  const float floor = fmaxf(first, block_best({own.lower, 0}, shared.bests).value), least = floor - Draw::slack(floor);
  Best best{-INFINITY, INT32_MAX};
  if (own.at >= 0 && !(own.upper < least))
    best = draw.score_of(slice.logits[own.at], slice.first + own.at, draw.bits_of(slice.first + own.at));
  if (isfinite(floor) && own.second < least) return best;
  slice.each_pack(0, slice.num_packs,
                  [&](const float4& x, int at) {  // several that might win, or scores beyond fp32: all of them
                    const float value[kWidth] = {x.x, x.y, x.z, x.w};
                    for (int j = 0; j < kWidth; ++j) {
                      if (!draw.allows(value[j])) continue;
                      const int token = slice.first + at + j;
                      const Best candidate = draw.score_of(value[j], token, draw.bits_of(token));
                      if (is_better(candidate, best)) best = candidate;
                    }
                  });
  return best;
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    sample_kernel(SampleView view, bool aligned, int slice_size) {
  extern __shared__ __align__(16) float logits[];
  __shared__ Shared shared;
  wait_for_predecessor();
  release_successor();
  const int index = blockIdx.x / kBlocks, rank = blockIdx.x % kBlocks;
  const float temperature = view.temperature[index], top_p = view.top_p[index], min_p = view.min_p[index];
  const int top_k = view.top_k[index];
  const uint64_t seed = view.seeds[index], position = view.positions[index];
  Slice<kThreads> slice{logits, rank * slice_size, slice_size / kWidth};
  Best best = slice.cluster_best(slice.load(view.logits + index * view.pitch, view.vocab, aligned), shared);
  const bool is_usable = isfinite(best.value);
  if (temperature > 0 && is_usable) {
    const Draw draw{seed, position, temperature, 1.0f / temperature, best.value, min_p,
                    border_of(slice, best.value, temperature, top_k, top_p, view.vocab, shared)};
    best = slice.cluster_best(draw_token(slice, draw, best, shared), shared);
  }
  if (rank == 0 && threadIdx.x == 0) store_draw(view, index, is_usable, best.index);
  cluster_sync();                                          // nobody leaves while others read its shared memory
}

template <int kThreads>
void launch_sample(Stream& stream, const SampleArgs& args) {
  const SampleView view = sample_view(args);
  const bool aligned = reinterpret_cast<uintptr_t>(view.logits) % 16 == 0 && view.pitch % kWidth == 0;
  const int slice_size = ceil_div(view.vocab, kBlocks * kWidth) * kWidth,
            shared_bytes = slice_size * static_cast<int>(sizeof(float));
  auto kernel = sample_kernel<kThreads>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_cluster_pdl(stream, kernel, dim3(args.logits.shape[0] * kBlocks), kBlocks, dim3(kThreads), shared_bytes, view,
                     aligned, slice_size);
}

}  // namespace

void run_sample_cluster(Stream& stream, const SampleArgs& args) {
  if (args.logits.shape[0] <= kFewRows) return launch_sample<1024>(stream, args);
  launch_sample<512>(stream, args);
}

bool sample_cluster_supports(const DeviceCaps& caps, const SampleArgs& args) {
  return caps.compute_capability == 90 && args.logits.shape[1] <= static_cast<int64_t>(kBlocks) * kMaxSlice;
}

}  // namespace gale::cuda
