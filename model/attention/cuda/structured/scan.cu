// For every block, the sum of the states that its far field is made of. A thread owns two
// neighbouring elements of the state and a segment of the sequence's blocks: it sums its segment,
// learns from the others what comes before it, and goes over the segment again. Nothing is ever
// subtracted: what a large state swamped would be gone when it leaves.
#include <algorithm>

#include "model/attention/cuda/mma.cuh"
#include "model/attention/cuda/structured/blocks.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kMaxThreads = 512;

// Pairs of elements and their sums.
struct Bf16State {
  using Pair = uint32_t;
  using Sum = float;
  static __device__ float2 Load(Pair pair) { return UnpackBf16(pair); }
  static __device__ Pair Store(float x, float y) { return PackBf16(x, y); }
};
struct FloatState {
  using Pair = float2;
  using Sum = double;
  static __device__ float2 Load(Pair pair) { return pair; }
  static __device__ Pair Store(double x, double y) {
    return {static_cast<float>(x), static_cast<float>(y)};
  }
};

template <typename Sum>
struct Running {
  Sum x = 0;
  Sum y = 0;
  __device__ void Decay(Sum factor) {
    x *= factor;
    y *= factor;
  }
  __device__ void Add(Sum factor, float2 pair) {
    x += factor * pair.x;
    y += factor * pair.y;
  }
};

// blockDim (lanes, segments); grid (lanes of a state, heads * max_groups, sequences).
template <typename State>
__global__ void __launch_bounds__(kMaxThreads)
    Scan(const __grid_constant__ StructuredArgs args, int64_t state_pairs) {
  using Pair = typename State::Pair;
  using Sum = typename State::Sum;
  extern __shared__ __align__(16) unsigned char storage[];
  auto* const totals = reinterpret_cast<Running<Sum>*>(storage);  // [segments][lanes]

  const SequenceView& sequences = args.base.sequences;
  const int s = static_cast<int>(blockIdx.z);
  const Span span = SpanOf(sequences, s);
  if (!Takes(sequences, span.length())) return;
  const int blocks = (span.length() + kBlock - 1) / kBlock;
  const int first_slot = sequences.cu_seqlens == nullptr ? s * blocks : span.begin / kBlock + s;

  const int local_head = static_cast<int>(blockIdx.y) / args.plan.max_groups;
  const HeadPlan plan = args.plan.heads[args.base.head_begin + local_head];
  const int g = plan.group_begin + static_cast<int>(blockIdx.y) % args.plan.max_groups;
  if (g >= plan.group_end) return;
  const StateGroup group = args.plan.groups[g];

  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool active = element < state_pairs;
  const int64_t step = args.plan.max_groups * state_pairs;  // from block to block
  const int64_t base =
      ((static_cast<int64_t>(local_head) * args.slots + first_slot) * args.plan.max_groups + g -
       plan.group_begin) *
          state_pairs +
      (active ? element : 0);
  const Pair* const states = static_cast<const Pair*>(args.states) + base;
  Pair* const sums = static_cast<Pair*>(args.sums) + base;

  const int segments = static_cast<int>(blockDim.y), segment = static_cast<int>(threadIdx.y);
  const int per_segment = (blocks + segments - 1) / segments;
  const int begin = min(segment * per_segment, blocks);
  const int end = min(begin + per_segment, blocks);
  const Sum decay = group.exponential ? exp(static_cast<Sum>(-group.rate) * kBlock) : Sum{1};
  const auto power = [&](int length) {
    return group.exponential ? exp(static_cast<Sum>(-group.rate) * kBlock * length) : Sum{1};
  };
  Running<Sum>& total = totals[segment * blockDim.x + threadIdx.x];

  // Right to left: what lies right_nearest blocks to the right and beyond.
  Running<Sum> sum;
  if (group.right_nearest > 0) {
#pragma unroll 4
    for (int b = end - 1; b >= begin; --b) {
      sum.Decay(decay);
      const int source = b + group.right_nearest;
      if (source < blocks) sum.Add(group.right_enter, State::Load(states[source * step]));
    }
    total = sum;
    __syncthreads();
    sum = {};
    for (int other = segments - 1; other > segment; --other) {
      const int length = min((other + 1) * per_segment, blocks) - min(other * per_segment, blocks);
      if (length == 0) continue;
      sum.Decay(power(length));
      const Running<Sum>& before = totals[other * blockDim.x + threadIdx.x];
      sum.x += before.x;
      sum.y += before.y;
    }
    __syncthreads();
  }
#pragma unroll 4
  for (int b = end - 1; b >= begin; --b) {
    if (group.right_nearest > 0) {
      sum.Decay(decay);
      const int source = b + group.right_nearest;
      if (source < blocks) sum.Add(group.right_enter, State::Load(states[source * step]));
    }
    if (active) sums[b * step] = State::Store(sum.x, sum.y);
  }

  if (group.left_nearest > 0) {
    sum = {};
#pragma unroll 4
    for (int b = begin; b < end; ++b) {
      sum.Decay(decay);
      const int source = b - group.left_nearest;
      if (source >= 0) sum.Add(group.left_enter, State::Load(states[source * step]));
    }
    total = sum;
    __syncthreads();
    sum = {};
    for (int other = 0; other < segment; ++other) {  // all of them full
      sum.Decay(power(per_segment));
      const Running<Sum>& before = totals[other * blockDim.x + threadIdx.x];
      sum.x += before.x;
      sum.y += before.y;
    }
#pragma unroll 4
    for (int b = begin; b < end; ++b) {
      sum.Decay(decay);
      const int source = b - group.left_nearest;
      if (source >= 0) sum.Add(group.left_enter, State::Load(states[source * step]));
      if (!active) continue;
      const float2 right = State::Load(sums[b * step]);
      sums[b * step] = State::Store(right.x + sum.x, right.y + sum.y);
    }
  }

  if (group.exponential || !active) return;
  for (int w = plan.window_begin; w < plan.window_end; ++w) {
    const StateWindow window = args.plan.windows[w];
    for (int b = begin; b < end; ++b) {
      Running<Sum> inside;
      for (int source = max(b + window.begin, 0); source < min(b + window.end, blocks); ++source) {
        inside.Add(1, State::Load(states[source * step]));
      }
      const float2 others = State::Load(sums[b * step]);
      sums[b * step] = State::Store(others.x + window.amplitude * inside.x,
                                    others.y + window.amplitude * inside.y);
    }
  }
}

}  // namespace

cudaError_t LaunchScan(const StructuredArgs& args, const StateShape& shape, bool bf16,
                       cudaStream_t stream) {
  const int heads = args.base.head_end - args.base.head_begin;
  if (args.plan.max_groups == 0) return cudaSuccess;
  const int blocks = (args.base.sequences.length + kBlock - 1) / kBlock;
  int segments = 1;
  while (segments < 16 && 4 * segments < blocks) segments *= 2;
  const int lanes = std::max(32, 256 / segments);
  const int64_t pairs = shape.size() / 2;
  const dim3 grid(static_cast<unsigned>((pairs + lanes - 1) / lanes), heads * args.plan.max_groups,
                  args.base.sequences.count);
  const dim3 threads(lanes, segments);
  if (bf16) {
    Scan<Bf16State>
        <<<grid, threads, threads.x * threads.y * sizeof(Running<float>), stream>>>(args, pairs);
  } else {
    Scan<FloatState>
        <<<grid, threads, threads.x * threads.y * sizeof(Running<double>), stream>>>(args, pairs);
  }
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
