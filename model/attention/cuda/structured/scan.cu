// For every block, the sum of the states that its far field is made of. A thread owns two
// neighbouring elements of the state and a segment of the sequence's blocks: it sums its segment,
// learns from the others what comes before it, and goes over the segment again. Nothing is ever
// subtracted: what a large state swamped would be gone when it leaves.
#include <algorithm>

#include "model/attention/cuda/early_launch.cuh"
#include "model/attention/cuda/mma.cuh"
#include "model/attention/cuda/per_device.h"
#include "model/attention/cuda/structured/blocks.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kLocalThreads = 256;
constexpr int kConstantThreads = 1024;

// Shared memory of a block of LocalScan, such that several fit a multiprocessor.
constexpr int kLocalBytes = 72 << 10;

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

// What a thread block (.., y: head and group, z: sequence) of a scan works on.
struct ScanPlace {
  int blocks = 0;     // of the sequence; 0: nothing to do
  int64_t first = 0;  // state of the sequence's first block, in states
  StateGroup group;
  struct {
    int begin = 0;
    int end = 0;
  } windows;

  __device__ ScanPlace(const StructuredArgs& args, int y, int s) {
    const SequenceView& sequences = args.base.sequences;
    const Span span = SpanOf(sequences, s);
    const int local_head = y / args.plan.max_groups, local_group = y % args.plan.max_groups;
    const HeadPlan plan = args.plan.heads[args.base.head_begin + local_head];
    if (!Takes(sequences, span.length()) || plan.group_begin + local_group >= plan.group_end)
      return;
    blocks = (span.length() + kBlock - 1) / kBlock;
    const int first_slot = sequences.cu_seqlens == nullptr ? s * blocks : span.begin / kBlock + s;
    first = (static_cast<int64_t>(local_head) * args.slots + first_slot) * args.plan.max_groups +
            local_group;
    group = args.plan.groups[plan.group_begin + local_group];
    if (group.mixed) {
      blocks = 0;
      return;
    }
    if (!group.weighted) {
      windows.begin = plan.window_begin;
      windows.end = plan.window_end;
    }
  }
};

// Sums of a sequence that has more blocks than shared memory was allotted for: a captured graph may
// be replayed with one. What is not a number puts the rows in doubt, and they are computed exactly.
// Threads (segments, lanes) of bfloat16 pairs; sums: of the lane, `step` pairs from block to block.
__device__ void RefuseSums(uint32_t* sums, int64_t step, int blocks, int segment, int segments) {
  constexpr uint32_t kNaNs = 0x7fff7fff;
  for (int b = segment; b < blocks; b += segments) sums[b * step] = kNaNs;
}

// blockDim (lanes, segments); grid (lanes of a state, heads * max_groups, sequences).
template <typename State>
__global__ void __launch_bounds__(kMaxThreads)
    Scan(const __grid_constant__ StructuredArgs args, int64_t state_pairs) {
  using Pair = typename State::Pair;
  using Sum = typename State::Sum;
  extern __shared__ __align__(16) unsigned char storage[];
  auto* const totals = reinterpret_cast<Running<Sum>*>(storage);  // [segments][lanes]
  LaunchDependents();
  WaitForPredecessors();

  const ScanPlace place(args, static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z));
  if (place.blocks == 0) return;
  const StateGroup group = place.group;
  const int blocks = place.blocks;

  const int64_t element = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool active = element < state_pairs;
  const int64_t step = args.plan.max_groups * state_pairs;  // from block to block
  const int64_t base = place.first * state_pairs + (active ? element : 0);
  const Pair* const states = static_cast<const Pair*>(args.states) + base;
  Pair* const sums = static_cast<Pair*>(args.sums) + base;

  const int segments = static_cast<int>(blockDim.y), segment = static_cast<int>(threadIdx.y);
  const int per_segment = (blocks + segments - 1) / segments;
  const int begin = min(segment * per_segment, blocks);
  const int end = min(begin + per_segment, blocks);
  const Sum decay = group.weighted ? exp(static_cast<Sum>(-group.rate) * kBlock) : Sum{1};
  const auto power = [&](int length) {
    return group.weighted ? exp(static_cast<Sum>(-group.rate) * kBlock * length) : Sum{1};
  };
  const Sum full = power(per_segment);
  Running<Sum>& total = totals[segment * blockDim.x + threadIdx.x];

  // Right to left: what lies right_nearest blocks to the right and beyond.
  Running<Sum> sum;
  if (group.right_nearest > 0) {
#pragma unroll 8
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
      sum.Decay(length == per_segment ? full : power(length));
      const Running<Sum>& before = totals[other * blockDim.x + threadIdx.x];
      sum.x += before.x;
      sum.y += before.y;
    }
    __syncthreads();
  }
#pragma unroll 8
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
#pragma unroll 8
    for (int b = begin; b < end; ++b) {
      sum.Decay(decay);
      const int source = b - group.left_nearest;
      if (source >= 0) sum.Add(group.left_enter, State::Load(states[source * step]));
    }
    total = sum;
    __syncthreads();
    sum = {};
    for (int other = 0; other < segment; ++other) {  // all of them full
      sum.Decay(full);
      const Running<Sum>& before = totals[other * blockDim.x + threadIdx.x];
      sum.x += before.x;
      sum.y += before.y;
    }
#pragma unroll 8
    for (int b = begin; b < end; ++b) {
      sum.Decay(decay);
      const int source = b - group.left_nearest;
      if (source >= 0) sum.Add(group.left_enter, State::Load(states[source * step]));
      if (!active) continue;
      const float2 right = State::Load(sums[b * step]);
      sums[b * step] = State::Store(right.x + sum.x, right.y + sum.y);
    }
  }

  if (!active) return;
  for (int w = place.windows.begin; w < place.windows.end; ++w) {
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

// The same for bfloat16 states of constant groups, in place: a thread holds its segment, kRows
// blocks, in registers. From the right and from the left it goes over the blocks that the sums are
// made of, not over those that they are for: each is then a running sum, which it begins where the
// totals of the other segments end.
template <int kRows>
__global__ void __launch_bounds__(kConstantThreads)
    ConstantScan(const __grid_constant__ StructuredArgs args, int64_t state_pairs, int lanes,
                 int most_blocks) {
  extern __shared__ __align__(16) unsigned char storage[];
  LaunchDependents();
  const ScanPlace place(args, static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z));
  WaitForPredecessors();
  if (place.blocks == 0) return;
  const StateGroup group = place.group;
  const int blocks = place.blocks;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int segment = static_cast<int>(threadIdx.x) / lanes;
  const int segments = static_cast<int>(blockDim.x) / lanes;
  auto* const totals = reinterpret_cast<float2*>(storage);               // [segments][lanes]
  auto* const right = reinterpret_cast<uint32_t*>(totals + blockDim.x);  // [blocks][lanes]

  const int64_t step = args.plan.max_groups * state_pairs;  // from block to block
  const int64_t base = place.first * state_pairs + static_cast<int64_t>(blockIdx.x) * lanes + lane;
  uint32_t* const sums = static_cast<uint32_t*>(args.states) + base;
  if (blocks > most_blocks) return RefuseSums(sums, step, blocks, segment, segments);
  const int begin = segment * kRows;
  uint32_t states[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) states[i] = begin + i < blocks ? sums[(begin + i) * step] : 0;
  float2 sum{0, 0};
  const auto add = [&sum](float2 pair) {
    sum.x += pair.x;
    sum.y += pair.y;
  };
#pragma unroll
  for (int i = 0; i < kRows; ++i) add(UnpackBf16(states[i]));
  totals[threadIdx.x] = sum;
  for (int b = max(blocks - group.right_nearest, 0) + segment; b < blocks; b += segments) {
    right[b * lanes + lane] = 0;  // nothing is so far to the right of these
  }
  __syncthreads();
  if (group.right_nearest > 0) {
    sum = {};
    for (int other = segments - 1; other > segment; --other) add(totals[other * lanes + lane]);
#pragma unroll
    for (int i = kRows - 1; i >= 0; --i) {
      add(UnpackBf16(states[i]));
      const int b = begin + i - group.right_nearest;
      if (b >= 0 && begin + i < blocks) {
        right[b * lanes + lane] = PackBf16(group.right_enter * sum.x, group.right_enter * sum.y);
      }
    }
  } else {
    for (int b = segment; b < blocks; b += segments) right[b * lanes + lane] = 0;
  }
  __syncthreads();
  const int nearest = group.left_nearest > 0 ? group.left_nearest : blocks;
  for (int b = segment; b < min(nearest, blocks); b += segments) {
    sums[b * step] = right[b * lanes + lane];
  }
  if (nearest >= blocks) return;
  sum = {};
  for (int other = 0; other < segment; ++other) add(totals[other * lanes + lane]);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    add(UnpackBf16(states[i]));
    const int b = begin + i + nearest;
    if (b < blocks) {
      const float2 other = UnpackBf16(right[b * lanes + lane]);
      sums[b * step] =
          PackBf16(fmaf(group.left_enter, sum.x, other.x), fmaf(group.left_enter, sum.y, other.y));
    }
  }
}

// Launches ConstantScan, if the sequences are not too long for it.
cudaError_t LaunchConstantScan(const StructuredArgs& args, int blocks, int64_t pairs, dim3 grid,
                               cudaStream_t stream) {
  constexpr int kRows = 16;
  for (int lanes : {32, 16, 8}) {
    const int segments = (blocks + kRows - 1) / kRows;
    const int threads = (segments * lanes + 31) / 32 * 32;
    const int bytes = 4 * blocks * lanes + threads * static_cast<int>(sizeof(float2));
    // Several thread blocks to a multiprocessor, if they can be: one loads while others compute.
    if (threads > (lanes > 8 ? kConstantThreads / 2 : kConstantThreads)) continue;
    if (pairs % lanes != 0) continue;
    const auto kernel = ConstantScan<kRows>;
    const cudaError_t error = AllowSharedMemory(kernel);
    if (error != cudaSuccess) return error;
    grid.x = static_cast<unsigned>(pairs / lanes);
    return LaunchEarly(kernel, grid, threads, bytes, stream, args, pairs, lanes, blocks);
  }
  return cudaErrorNotSupported;
}

// The same for bfloat16 states of sequences that are not too long: a thread block copies its lanes
// of all blocks' states to shared memory once, and the passes run there.
__global__ void __launch_bounds__(kLocalThreads)
    LocalScan(const __grid_constant__ StructuredArgs args, int64_t state_pairs, int lanes,
              int most_blocks) {
  extern __shared__ __align__(16) unsigned char storage[];
  LaunchDependents();
  const ScanPlace place(args, static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z));
  WaitForPredecessors();
  if (place.blocks == 0) return;
  const StateGroup group = place.group;
  const int blocks = place.blocks;
  auto* const states = reinterpret_cast<uint32_t*>(storage);  // [blocks][lanes]
  uint32_t* const partial = states + blocks * lanes;          // what has come from the right
  auto* const totals = reinterpret_cast<float2*>(partial + blocks * lanes);  // [segments][lanes]

  const int64_t step = args.plan.max_groups * state_pairs;  // from block to block
  const int64_t first = static_cast<int64_t>(blockIdx.x) * lanes;
  const int64_t base = place.first * state_pairs + first;
  const uint32_t* const from = static_cast<const uint32_t*>(args.states) + base;
  uint32_t* const to = static_cast<uint32_t*>(args.sums) + base;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int segment = static_cast<int>(threadIdx.x) / lanes, segments = kLocalThreads / lanes;
  if (blocks > most_blocks) return RefuseSums(to + lane, step, blocks, segment, segments);
  // Sixteen-byte pieces: a state is a multiple of them, and so are the lanes.
  const int pieces = lanes / 4;
  for (int c = static_cast<int>(threadIdx.x); c < blocks * pieces; c += kLocalThreads) {
    const int b = c / pieces, piece = c % pieces;
    CopyAsync16(states + c * 4, from + b * step + piece * 4, true);
  }
  CommitCopies();
  WaitForCopies<0>();
  __syncthreads();

  const int per_segment = (blocks + segments - 1) / segments;
  const int begin = min(segment * per_segment, blocks);
  const int end = min(begin + per_segment, blocks);
  const auto load = [&](int b) { return UnpackBf16(states[b * lanes + lane]); };
  const float decay = group.weighted ? expf(-group.rate * kBlock) : 1.0F;
  const auto power = [&](int length) {
    return group.weighted ? expf(-group.rate * kBlock * length) : 1.0F;
  };
  const float full = power(per_segment);

  Running<float> sum;
  const auto right = [&](int b) {
    sum.Decay(decay);
    const int source = b + group.right_nearest;
    sum.Add(group.right_enter, source < blocks ? load(source) : float2{0, 0});
  };
  const auto left = [&](int b) {
    sum.Decay(decay);
    const int source = b - group.left_nearest;
    sum.Add(group.left_enter, source >= 0 ? load(source) : float2{0, 0});
  };
  const auto share = [&] {
    totals[threadIdx.x] = {sum.x, sum.y};
    __syncthreads();
    sum = {};
  };
  const auto join = [&](int other, float factor) {
    sum.Decay(factor);
    const float2 total = totals[other * lanes + lane];
    sum.x += total.x;
    sum.y += total.y;
  };
  if (group.right_nearest > 0) {
#pragma unroll 8
    for (int b = end - 1; b >= begin; --b) right(b);
    share();
    for (int other = segments - 1; other > segment; --other) {
      const int length = min((other + 1) * per_segment, blocks) - min(other * per_segment, blocks);
      if (length > 0) join(other, length == per_segment ? full : power(length));
    }
    __syncthreads();
  }
#pragma unroll 8
  for (int b = end - 1; b >= begin; --b) {
    if (group.right_nearest > 0) right(b);
    partial[b * lanes + lane] = PackBf16(sum.x, sum.y);
  }
  sum = {};
  if (group.left_nearest > 0) {
#pragma unroll 8
    for (int b = begin; b < end; ++b) left(b);
    share();
    for (int other = 0; other < segment; ++other) join(other, full);  // all of them full
  }
#pragma unroll 4
  for (int b = begin; b < end; ++b) {
    if (group.left_nearest > 0) left(b);
    float2 result = UnpackBf16(partial[b * lanes + lane]);
    result.x += sum.x;
    result.y += sum.y;
    for (int w = place.windows.begin; w < place.windows.end; ++w) {
      const StateWindow window = args.plan.windows[w];
      for (int source = max(b + window.begin, 0); source < min(b + window.end, blocks); ++source) {
        const float2 state = load(source);
        result.x += window.amplitude * state.x;
        result.y += window.amplitude * state.y;
      }
    }
    to[b * step + lane] = PackBf16(result.x, result.y);
  }
}

}  // namespace

cudaError_t LaunchScan(StructuredArgs& args, int64_t size, bool bf16, cudaStream_t stream) {
  const int heads = args.base.head_end - args.base.head_begin;
  if (bf16 && args.plan.max_rank > 0) {
    const cudaError_t error = LaunchMixedScan(args, stream);
    if (error != cudaSuccess || args.plan.all_mixed) return error;
  }
  if (args.plan.max_groups == 0) return cudaSuccess;
  const int blocks = (args.base.sequences.length + kBlock - 1) / kBlock;
  const int64_t pairs = size / 2;
  const unsigned units = heads * args.plan.max_groups;
  if (bf16 && args.plan.constant) {
    const cudaError_t error =
        LaunchConstantScan(args, blocks, pairs, dim3(1, units, args.base.sequences.count), stream);
    if (error == cudaSuccess) args.sums = args.states;
    if (error != cudaErrorNotSupported) return error;
  }
  for (int lanes : {32, 16, 8}) {
    const int bytes = 8 * blocks * lanes + kLocalThreads * static_cast<int>(sizeof(float2));
    if (!bf16 || bytes > kLocalBytes || pairs % lanes != 0) continue;
    const cudaError_t error = AllowSharedMemory(LocalScan);
    if (error != cudaSuccess) return error;
    const dim3 grid(static_cast<unsigned>(pairs / lanes), units, args.base.sequences.count);
    return LaunchEarly(LocalScan, grid, kLocalThreads, bytes, stream, args, pairs, lanes, blocks);
  }
  int segments = 1;
  while (segments < 16 && 4 * segments < blocks) segments *= 2;
  const int lanes = std::max(32, 256 / segments);
  const dim3 grid(static_cast<unsigned>((pairs + lanes - 1) / lanes), units,
                  args.base.sequences.count);
  const dim3 threads(lanes, segments);
  if (bf16) {
    return LaunchEarly(Scan<Bf16State>, grid, threads,
                       threads.x * threads.y * sizeof(Running<float>), stream, args, pairs);
  }
  return LaunchEarly(Scan<FloatState>, grid, threads,
                     threads.x * threads.y * sizeof(Running<double>), stream, args, pairs);
}

}  // namespace longwave::attention::cuda
