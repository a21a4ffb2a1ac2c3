// The sums of states of a smooth far field (FarMix). A thread owns two neighbouring elements of all
// the head's states and a segment of the sequence's blocks; the running sums of one side's
// exponentials are in its registers. It sums its segment, learns from the others what comes before
// it, and goes over the segment again.
#include <algorithm>

#include "model/attention/cuda/early_launch.cuh"
#include "model/attention/cuda/mma.cuh"
#include "model/attention/cuda/structured/blocks.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kSegments = 8;
constexpr int64_t kStatePairs = kMmaState / 2;
static_assert(kStatePairs % kLanes == 0);

__device__ inline void MultiplyAdd(float2& sum, float factor, float2 x) {
  sum.x = fmaf(factor, x.x, sum.x);
  sum.y = fmaf(factor, x.y, sum.y);
}

template <int kRates>
struct Shared {
  FarMix mix;
  float full[kMaxRates];  // the decay of a whole segment
  float2 totals[kSegments][kRates][kLanes];
};

// blockDim (lanes, segments); grid (lanes of a state, heads, sequences).
template <int kRank, int kRates>
__global__ void __launch_bounds__(kLanes* kSegments)
    MixedScan(const __grid_constant__ StructuredArgs args) {
  __shared__ __align__(16) unsigned char storage[sizeof(Shared<kRates>)];
  auto& shared = *reinterpret_cast<Shared<kRates>*>(storage);
  const int head = static_cast<int>(blockIdx.y), s = static_cast<int>(blockIdx.z);
  const int thread = static_cast<int>(threadIdx.y) * kLanes + static_cast<int>(threadIdx.x);
  LaunchDependents();
  const auto* const words =
      reinterpret_cast<const int32_t*>(args.plan.mixes + args.base.head_begin + head);
  for (int c = thread; c < static_cast<int>(sizeof(FarMix) / 4); c += kLanes * kSegments) {
    reinterpret_cast<int32_t*>(&shared.mix)[c] = words[c];
  }
  const SequenceView& sequences = args.base.sequences;
  const Span span = SpanOf(sequences, s);
  WaitForPredecessors();
  __syncthreads();
  const FarMix& mix = shared.mix;
  if (mix.rank == 0 || !Takes(sequences, span.length())) return;
  const int blocks = (span.length() + kBlock - 1) / kBlock;
  const int first_slot = sequences.cu_seqlens == nullptr ? s * blocks : span.begin / kBlock + s;
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x;
  const int64_t step = args.plan.max_groups * kStatePairs;  // from block to block
  const int64_t base =
      ((static_cast<int64_t>(head) * args.slots + first_slot) * args.plan.max_groups + mix.first) *
          kStatePairs +
      element;
  const uint32_t* const states = static_cast<const uint32_t*>(args.states) + base;
  uint32_t* const sums = static_cast<uint32_t*>(args.sums) + base;
  const int segment = static_cast<int>(threadIdx.y);
  const int per_segment = (blocks + kSegments - 1) / kSegments;
  // Places along the way, block 0 or the last one first: all segments but the last ones are full.
  const int begin = min(segment * per_segment, blocks), end = min(begin + per_segment, blocks);

  for (const bool left : {false, true}) {
    const FarMix::Side& side = left ? mix.left : mix.right;
    if (left && side.nearest == 0) return;
    float2 z[kRates];
#pragma unroll
    for (int r = 0; r < kRates; ++r) z[r] = {0, 0};
    const auto load = [&](int place, uint32_t(&pairs)[kRank]) {
      const int source = place - side.nearest;
      const bool there = side.nearest > 0 && source >= 0 && place < end;
      const int64_t at = (left ? source : blocks - 1 - source) * step;
#pragma unroll
      for (int k = 0; k < kRank; ++k) {
        pairs[k] = there && k < mix.rank ? states[at + k * kStatePairs] : 0U;
      }
    };
    const auto add = [&](const uint32_t(&pairs)[kRank]) {
      float2 x[kRank];
#pragma unroll
      for (int k = 0; k < kRank; ++k) x[k] = UnpackBf16(pairs[k]);
#pragma unroll
      for (int r = 0; r < kRates; ++r) {
        const float decay = side.decay[r];
        z[r] = {z[r].x * decay, z[r].y * decay};
#pragma unroll
        for (int k = 0; k < kRank; ++k) MultiplyAdd(z[r], side.in[r][k], x[k]);
      }
    };
    uint32_t now[kRank], next[kRank];
    if (thread < kMaxRates) {
      shared.full[thread] = powf(side.decay[thread], static_cast<float>(per_segment));
    }
    load(begin, now);
#pragma unroll 1
    for (int place = begin; place < end; ++place) {
      load(place + 1, next);
      add(now);
#pragma unroll
      for (int k = 0; k < kRank; ++k) now[k] = next[k];
    }
    load(begin, now);
#pragma unroll
    for (int r = 0; r < kRates; ++r) shared.totals[segment][r][threadIdx.x] = z[r];
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRates; ++r) {
      z[r] = {0, 0};
      for (int other = 0; other < segment; ++other) {
        const float2 total = shared.totals[other][r][threadIdx.x];
        z[r] = {fmaf(z[r].x, shared.full[r], total.x), fmaf(z[r].y, shared.full[r], total.y)};
      }
    }
#pragma unroll 1
    for (int place = begin; place < end; ++place) {
      load(place + 1, next);
      add(now);
      float2 y[kRank];
#pragma unroll
      for (int k = 0; k < kRank; ++k) y[k] = {0, 0};
#pragma unroll
      for (int r = 0; r < kRates; ++r) {
#pragma unroll
        for (int k = 0; k < kRank; ++k) MultiplyAdd(y[k], side.out[r][k], z[r]);
      }
      uint32_t* const to = sums + (left ? place : blocks - 1 - place) * step;
#pragma unroll
      for (int k = 0; k < kRank; ++k) {
        if (k >= mix.rank) continue;
        uint32_t& sum = to[k * kStatePairs];
        if (left) {
          const float2 right = UnpackBf16(sum);
          y[k] = {y[k].x + right.x, y[k].y + right.y};
        }
        sum = PackBf16(y[k].x, y[k].y);
      }
#pragma unroll
      for (int k = 0; k < kRank; ++k) now[k] = next[k];
    }
    __syncthreads();
  }
}

template <int kRank, int kRates>
cudaError_t Start(const StructuredArgs& args, cudaStream_t stream) {
  const dim3 grid(kStatePairs / kLanes, args.base.head_end - args.base.head_begin,
                  args.base.sequences.count);
  return LaunchEarly(MixedScan<kRank, kRates>, grid, dim3(kLanes, kSegments), 0, stream, args);
}

// Sizes that the kernel is compiled for.
constexpr int kFewRates = 10;
constexpr int RatesOf(int rates) { return rates <= kFewRates ? kFewRates : kMaxRates; }
constexpr int RankOf(int rank) { return rank <= 4 ? 4 : rank <= 6 ? 6 : kMaxRank; }

template <int kRank>
cudaError_t StartRank(const StructuredArgs& args, cudaStream_t stream) {
  return RatesOf(args.plan.max_rates) == kFewRates ? Start<kRank, kFewRates>(args, stream)
                                                   : Start<kRank, kMaxRates>(args, stream);
}

}  // namespace

cudaError_t LaunchMixedScan(const StructuredArgs& args, cudaStream_t stream) {
  switch (RankOf(args.plan.max_rank)) {
    case 4:
      return StartRank<4>(args, stream);
    case 6:
      return StartRank<6>(args, stream);
    default:
      return StartRank<kMaxRank>(args, stream);
  }
}

int MixedScanSteps(const FarMix& mix) {
  int steps = 0;
  for (const FarMix::Side* const side : {&mix.left, &mix.right}) {
    if (side->nearest == 0) continue;
    int rates = 0;
    while (rates < kMaxRates && side->decay[rates] != 0) ++rates;
    steps += RatesOf(rates) * (2 * RankOf(mix.rank) + 1);
  }
  return steps;
}

}  // namespace longwave::attention::cuda
