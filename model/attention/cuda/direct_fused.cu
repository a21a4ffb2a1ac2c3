#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "model/attention/cuda/direct_fused.h"
#include "model/attention/cuda/direct_hopper.cuh"
#include "model/attention/cuda/direct_tiles.cuh"
#include "model/attention/cuda/exact_rows.cuh"

// direct_hopper.cu's quadratic part with the features computed in the kernel. Tiles of 64 keys go
// round a ring of stages in shared memory. Each is loaded by one warpgroup, its owner, which turns
// k into phi(k) in place: half of that is exponentials, which hide behind the products of the other
// warpgroups. phi(q) stays in registers. Warpgroups meet at the barriers of stages only, so that
// they drift apart and keep the tensor cores busy.
namespace longwave::attention::cuda {
namespace {

using hopper::Barrier;
using bf16 = __nv_bfloat16;

constexpr int kGroupThreads = 128;
constexpr int kTile = 64;   // keys of a tile, rows of a warpgroup
constexpr int kWidth = 64;  // channels and features, padded
constexpr int kTileBytes = kTile * kPanelRowBytes;
constexpr int kRegisters = kWidth / 2;  // of a 64 x 64 product, by thread
constexpr int kMaxPasses = 2;
constexpr float kNormEps = 1e-12f;
constexpr float kLog2E = 1.44269504f;
constexpr int kSharedLimit = 227 * 1024;

template <int kRowGroups, int kKeyGroups>
struct Config {
  static constexpr int kGroups = kRowGroups * kKeyGroups;
  static constexpr int kThreads = kGroups * kGroupThreads;
  // A tile at work and one under way, by warpgroup.
  static constexpr int kStages = 2 * kGroups;

  struct Stage {
    char keys[kTileBytes];
    char values[kTileBytes];
  };
  struct Shared {
    Stage stages[kStages];
    char queries[kGroups][kTileBytes];
    char projection[2][kTileBytes];  // W as a sum of two
    Barrier ready[kStages];
    Barrier empty[kStages];
    uint32_t doubtful[kGroups][kMaxPasses][kTile / 32];
    float weights[1];  // as many as the longest sequence needs, twice
  };
  static constexpr int kBytes = sizeof(Shared) + 1024;  // room to align

  // Floats of one copy of the weights of `length` keys: of every distance that `rows` rows reach.
  // As in direct_hopper.cu the second copy is moved by one, and 16 banks away.
  __host__ __device__ static int SecondCopy(int length, int rows) {
    const int window = (length + kTile - 1) / kTile * kTile + rows;
    return (window + 31) / 32 * 32 + 16;
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

using Fragments = uint32_t[kWidth / 16][4];

// The index-th block of `rows` rows of the sequences that the launch takes. By a warp.
__device__ SequenceTile FindBlock(const SequenceView& sequences, int index, int rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int before = 0;
  for (int first = 0; first < sequences.count; first += 32) {
    const int s = first + lane;
    Span span{0, 0};
    if (s < sequences.count) span = SpanOf(sequences, s);
    const int blocks = Takes(sequences, span.length()) ? (span.length() + rows - 1) / rows : 0;
    int sum = blocks;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += other;
    }
    const uint32_t past = __ballot_sync(~0u, before + sum > index);
    if (past != 0) {
      const int owner = __ffs(static_cast<int>(past)) - 1;
      const int begin = __shfl_sync(~0u, span.begin, owner);
      const int length = __shfl_sync(~0u, span.length(), owner);
      const int block = index - before - __shfl_sync(~0u, sum - blocks, owner);
      return {first + owner, begin, length, block * rows, true};
    }
    before += __shfl_sync(~0u, sum, 31);
  }
  return {0, 0, 0, 0, false};
}

__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Begins to copy this warp's 16 rows of a tile: rows [first, first + 64) of a sequence of `length`.
__device__ void LoadRows(char* tile, const TokenView& view, int head, int columns,
                         const SequenceTile& block, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int piece = lane % 8;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + lane / 8;
  const bf16* const from =
      static_cast<const bf16*>(view.data) +
      static_cast<int64_t>(block.token_begin + first + row) * view.token_stride +
      head * view.head_stride + piece * 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool valid = first + row + 4 * i < block.length && piece * 8 < columns;
    CopyAsync16(tile + SwizzledByte(row + 4 * i, piece),
                valid ? from + 4 * i * view.token_stride : view.data, valid);
  }
}

// W of a head as two tiles [feature][channel].
template <int kThreads>
__device__ void LoadProjection(const AttentionArgs& a, int head, char (&tiles)[2][kTileBytes]) {
  const float* const w = a.projection + head * a.projection_head_stride;
  for (int i = static_cast<int>(threadIdx.x); i < kWidth * 8; i += kThreads) {
    const int feature = i / 8, piece = i % 8;
    float x[8] = {};
    if (feature < a.features && piece * 8 < a.dim) {
      const float4* const from =
          reinterpret_cast<const float4*>(w + feature * a.projection_row_stride + piece * 8);
      *reinterpret_cast<float4*>(x) = __ldg(from);
      *reinterpret_cast<float4*>(x + 4) = __ldg(from + 1);
    }
#pragma unroll
    for (auto& tile : tiles) {
      uint4 part;
      part.x = TakePart(x[0], x[1]);
      part.y = TakePart(x[2], x[3]);
      part.z = TakePart(x[4], x[5]);
      part.w = TakePart(x[6], x[7]);
      *reinterpret_cast<uint4*>(tile + SwizzledByte(feature, piece)) = part;
    }
  }
}

__device__ inline void GroupSync(int group) {
  asm volatile("barrier.cta.sync %0, 128;" ::"r"(group + 1) : "memory");
}

// phi of this warpgroup's 64 rows of a tile as left operands; rows from `valid` on are 0 for keys.
template <bool kKeys>
__device__ void Features(const AttentionArgs& a, const char* tile, int valid,
                         const char (&projection)[2][kTileBytes], Fragments& phi) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16;
  const uint64_t rows = hopper::Descriptor(hopper::SharedAddress(tile));
  const uint64_t high = hopper::Descriptor(hopper::SharedAddress(projection[0]));
  const uint64_t low = hopper::Descriptor(hopper::SharedAddress(projection[1]));
  float log[kRegisters];
  hopper::WgmmaFence();
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    // 16 channels are 32 bytes of a row; descriptors count in 16.
    hopper::WgmmaShared(log, rows + 2 * s, low + 2 * s, s > 0);
  }
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    hopper::WgmmaShared(log, rows + 2 * s, high + 2 * s, true);
  }
  hopper::WgmmaCommit();
  float factor[2] = {0, 0}, offset[2];
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    uint32_t x[4];
    LoadTiles(x, tile + SwizzledByte(row + lane % 16, 2 * s + lane / 16));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = UnpackBf16(x[i]);
      factor[i % 2] += pair.x * pair.x + pair.y * pair.y;
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float square = factor[half];
    square += __shfl_xor_sync(~0u, square, 1);
    square += __shfl_xor_sync(~0u, square, 2);
    float y = static_cast<float>(a.scale) * rsqrtf(fmaxf(square, kNormEps * kNormEps));
    if (!(square < 1e37f)) y = __int_as_float(0x7fffffff);  // NaN: the rows will be found
    factor[half] = kLog2E * y;
    offset[half] = kKeys ? -0.5f * kLog2E * square * y * y : 0.0f;
    if (kKeys && row + lane / 4 + 8 * half >= valid) offset[half] = -INFINITY;
  }
  hopper::WgmmaWait<0>();
  hopper::Hold(log);
#pragma unroll
  for (int g = 0; g < kWidth / 8; ++g) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float p = Exp2(fmaf(log[4 * g + 2 * half], factor[half], offset[half]));
      float q = Exp2(fmaf(log[4 * g + 2 * half + 1], factor[half], offset[half]));
      if (kKeys && a.features < kWidth) {
        const int feature = 8 * g + 2 * (lane % 4);
        if (feature >= a.features) p = 0;
        if (feature + 1 >= a.features) q = 0;
      }
      phi[g / 2][g % 2 * 2 + half] = PackBf16(p, q);
    }
  }
}

// k of a tile becomes phi(k).
__device__ void ConvertKeys(const AttentionArgs& a, char* tile, int valid,
                            const char (&projection)[2][kTileBytes]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + lane / 4;
  Fragments phi;
  Features<true>(a, tile, valid, projection, phi);
  GroupSync(static_cast<int>(threadIdx.x) / kGroupThreads);  // nobody reads k any more
#pragma unroll
  for (int g = 0; g < kWidth / 8; ++g) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<uint32_t*>(tile + SwizzledByte(row + 8 * half, g) + 4 * (lane % 4)) =
          phi[g / 2][g % 2 * 2 + half];
    }
  }
}

// By a warpgroup. Not inlined: it would cost everyone registers.
__device__ __noinline__ void RepairRow(const AttentionArgs& a, int token, int head,
                                       double* scratch) {
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  exact::SolveRow<bf16>(a, {static_cast<int>(threadIdx.x) % kGroupThreads, group + 1}, token, head,
                        scratch);
}

// What a thread adds up for its rows.
struct Sums {
  float values[kRegisters];
  float denominators[2];
};

template <int kRowGroups, int kKeyGroups>
class Block {
 public:
  using C = Config<kRowGroups, kKeyGroups>;
  using Shared = typename C::Shared;

  __device__ Block(const DirectArgs& args, const SequenceTile& place, int head, int passes,
                   Shared& shared)
      : args_(args),
        a_(args.attention),
        place_(place),
        head_(head),
        passes_(passes),
        rows_(C::kGroups / kKeyGroups * kTile * passes),
        keys_(a_.bias.causal ? min(place.length, place.row + rows_) : place.length),
        tiles_((keys_ + kTile - 1) / kTile),
        group_(static_cast<int>(threadIdx.x) / kGroupThreads),
        shared_(shared) {}

  __device__ void Run(int second_copy) {
    if (threadIdx.x == 0) {
      for (int s = 0; s < C::kStages; ++s) {
        shared_.ready[s].Init(kGroupThreads);
        shared_.empty[s].Init(4 * kRowGroups);
      }
    }
    LoadQueries(0);
    CommitCopies();
    LoadTile(group_);
    LoadTile(group_ + C::kGroups);
    LoadProjection<C::kThreads>(a_, head_, shared_.projection);
    ComputeWeights(second_copy);
    hopper::FenceShared();
    __syncthreads();
    Fragments queries;
    WaitForCopies<2>();
    Meet();
    Features<false>(a_, shared_.queries[group_], kTile, shared_.projection, queries);
    WaitForCopies<1>();
    Convert(group_);

    for (int pass = 0; pass < passes_; ++pass) {
      if (pass > 0) {
        WaitForCopies<0>();
        Meet();
        Features<false>(a_, shared_.queries[group_], kTile, shared_.projection, queries);
      }
      if (pass + 1 < passes_) {
        GroupSync(group_);
        LoadQueries(pass + 1);
        CommitCopies();
      }
      Sums sums;
      Walk(pass, second_copy, queries, sums);
      if (kKeyGroups > 1) Merge(sums);
      if (group_ % kKeyGroups == 0) Write(pass, sums);
    }
  }

  // All rows in float64, too.
  __device__ void RunExactly() {
    if (threadIdx.x % kGroupThreads < kMaxPasses * kTile / 32) {
      const int word = static_cast<int>(threadIdx.x) % kGroupThreads;
      shared_.doubtful[group_][word / 2][word % 2] = group_ % kKeyGroups == 0 ? ~0u : 0u;
    }
    GroupSync(group_);
  }

  // Computes the rows in doubt in float64, each warpgroup its own.
  __device__ void Repair() {
    GroupSync(group_);
    for (int pass = 0; pass < passes_; ++pass) {
      for (int half = 0; half < kTile / 32; ++half) {
        uint32_t rows = shared_.doubtful[group_][pass][half];
        for (; rows != 0; rows &= rows - 1) {
          const int row = FirstRow(pass) + 32 * half + __ffs(static_cast<int>(rows)) - 1;
          if (row >= place_.length) break;
          RepairRow(a_, place_.token_begin + row, head_,
                    reinterpret_cast<double*>(shared_.queries[group_]));
          GroupSync(group_);
        }
      }
    }
  }

  __device__ void ClearDoubts() {
    const int word = static_cast<int>(threadIdx.x);
    if (word < C::kGroups * kMaxPasses * kTile / 32) (&shared_.doubtful[0][0][0])[word] = 0;
  }

 private:
  // Of this warpgroup, within the sequence.
  __device__ int FirstRow(int pass) const {
    return place_.row + (pass * kRowGroups + group_ / kKeyGroups) * kTile;
  }

  __device__ void LoadQueries(int pass) {
    LoadRows(shared_.queries[group_], a_.q, head_, a_.dim, place_, FirstRow(pass));
  }

  // A tile that this warpgroup owns.
  __device__ void LoadTile(int tile) {
    if (tile < tiles_) {
      auto& stage = shared_.stages[tile % C::kStages];
      LoadRows(stage.keys, a_.k, head_, a_.dim, place_, tile * kTile);
      LoadRows(stage.values, a_.v, head_, a_.value_dim, place_, tile * kTile);
    }
    CommitCopies();
  }

  // After this thread has waited for its copies: lets the warpgroup's products read everyone's.
  __device__ void Meet() {
    hopper::FenceShared();
    GroupSync(group_);
  }

  // Whose copies this thread has waited for.
  __device__ void Convert(int tile) {
    if (tile >= tiles_) return;
    Meet();
    const int s = tile % C::kStages;
    ConvertKeys(a_, shared_.stages[s].keys, place_.length - tile * kTile, shared_.projection);
    hopper::FenceShared();
    shared_.ready[s].Arrive();
  }

  // exp(b - shift) of every distance: that of row r and key j is at j - r + rows - 1, both counted
  // from the block's first row and the sequence's first key.
  __device__ void ComputeWeights(int second_copy) {
    const BiasView& bias = a_.bias;
    const int edge = bias.columns / 2;
    const float* const table = bias.data + static_cast<int64_t>(head_) * bias.columns + edge;
    const float shift = ShiftOf(args_, head_, place_, rows_);
    const int window = tiles_ * kTile + rows_ - 1;
    for (int x = static_cast<int>(threadIdx.x); x < window; x += C::kThreads) {
      const int distance = x - (rows_ - 1) - place_.row;
      const float b = __ldg(table + max(-edge, min(distance, edge)));
      const float weight = bias.causal && distance > 0 ? 0.0f : Exp2((b - shift) * kLog2E);
      shared_.weights[x] = weight;
      if (x > 0) shared_.weights[second_copy + x - 1] = weight;
    }
  }

  // Adds up the tiles of this warpgroup's keys.
  __device__ void Walk(int pass, int second_copy, const Fragments& queries, Sums& sums) {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, lane = thread % 32;
    const int first = FirstRow(pass);
    const int row = first - place_.row + thread / 32 * 16 + lane / 4;
    const int corner = 2 * (lane % 4) - row + rows_ - 1;
    const float* const weights =
        shared_.weights + (corner % 2 == 0 ? corner : second_copy + corner - 1);
    // Keys that any of the 64 rows sees.
    const int end = first >= place_.length ? 0 : a_.bias.causal ? min(keys_, first + kTile) : keys_;
#pragma unroll
    for (float& x : sums.values) x = 0;
    sums.denominators[0] = sums.denominators[1] = 0;

    const int key_group = group_ % kKeyGroups, turn = group_ / kKeyGroups;
    int own = group_;  // the last one of this warpgroup's tiles that it has met
    int previous = -1;
#pragma unroll 1
    for (int i = 0, tile = key_group; tile < tiles_; ++i, tile += kKeyGroups) {
      if (pass == 0 && i % kRowGroups == turn) {
        own = tile;
        WaitForCopies<0>();
        Convert(tile + C::kGroups);
      }
      const int s = tile % C::kStages;
      shared_.ready[s].Wait(tile / C::kStages % 2);
      if (tile * kTile < end) {
        Add(shared_.stages[s], weights + tile * kTile, queries, previous, sums);
        previous = s;
      } else {
        hopper::WgmmaWait<0>();
        hopper::Hold(sums.values);
        Free(previous);
        Free(s);
        previous = -1;
      }
      // Half a round later the others are done with the tile, too.
      if (pass == 0 && i % kRowGroups == (turn + kRowGroups / 2) % kRowGroups &&
          own + 2 * C::kGroups < tiles_ && own <= tile) {
        if (kRowGroups == 1) {
          hopper::WgmmaWait<0>();
          hopper::Hold(sums.values);
          Free(previous);
          previous = -1;
        }
        shared_.empty[own % C::kStages].Wait(own / C::kStages % 2);
        LoadTile(own + 2 * C::kGroups);
      }
    }
    hopper::WgmmaWait<0>();
    hopper::Hold(sums.values);
    Free(previous);
  }

  __device__ void Free(int stage) {
    if (stage < 0) return;
    __syncwarp();
    if (threadIdx.x % 32 == 0) shared_.empty[stage].Arrive();
  }

  // weights: of this thread's first row and column.
  __device__ void Add(const typename C::Stage& stage, const float* weights,
                      const Fragments& queries, int previous, Sums& sums) {
    const uint64_t keys = hopper::Descriptor(hopper::SharedAddress(stage.keys));
    const uint64_t values = hopper::Descriptor(hopper::SharedAddress(stage.values));
    float scores[kRegisters];
    hopper::WgmmaFence();
#pragma unroll
    for (int s = 0; s < kWidth / 16; ++s) {
      hopper::WgmmaRegisters<true>(scores, queries[s], keys + 2 * s, s > 0);
    }
    hopper::WgmmaCommit();
    float2 below = *reinterpret_cast<const float2*>(weights - 8);
    hopper::WgmmaWait<0>();
    hopper::Hold(scores);
    hopper::Hold(sums.values);
    Free(previous);
    Fragments products;
#pragma unroll
    for (int g = 0; g < kTile / 8; ++g) {
      const float2 here = *reinterpret_cast<const float2*>(weights + 8 * g);
      const float a = scores[4 * g] * here.x, b = scores[4 * g + 1] * here.y;
      // Eight rows down is eight columns to the left.
      const float c = scores[4 * g + 2] * below.x, d = scores[4 * g + 3] * below.y;
      below = here;
      sums.denominators[0] += a + b;
      sums.denominators[1] += c + d;
      products[g / 2][g % 2 * 2] = PackBf16(a, b);
      products[g / 2][g % 2 * 2 + 1] = PackBf16(c, d);
    }
    hopper::WgmmaFence();
#pragma unroll
    for (int s = 0; s < kTile / 16; ++s) {
      hopper::WgmmaRegisters(sums.values, products[s], values + s * (16 * kPanelRowBytes / 16),
                             true);
    }
    hopper::WgmmaCommit();
  }

  // Adds what the other warpgroups of the rows have found to the first one's, in order.
  __device__ void Merge(Sums& sums) {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
    float* const parts = reinterpret_cast<float*>(shared_.stages);
    constexpr int kPart = kRegisters + 2;
    static_assert(C::kGroups * kPart * kGroupThreads * 4 <= sizeof(shared_.stages));
    __syncthreads();  // nobody reads tiles any more
    if (group_ % kKeyGroups > 0) {
      float* const mine = parts + group_ * kPart * kGroupThreads + thread;
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) mine[i * kGroupThreads] = sums.values[i];
      mine[kRegisters * kGroupThreads] = sums.denominators[0];
      mine[(kRegisters + 1) * kGroupThreads] = sums.denominators[1];
    }
    __syncthreads();
    if (group_ % kKeyGroups > 0) return;
#pragma unroll
    for (int other = 1; other < kKeyGroups; ++other) {
      const float* const theirs = parts + (group_ + other) * kPart * kGroupThreads + thread;
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) sums.values[i] += theirs[i * kGroupThreads];
      sums.denominators[0] += theirs[kRegisters * kGroupThreads];
      sums.denominators[1] += theirs[(kRegisters + 1) * kGroupThreads];
    }
  }

  // Divides, marks rows in doubt and writes the rows.
  __device__ void Write(int pass, const Sums& sums) {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, lane = thread % 32;
    const bool odd = lane % 2 == 1;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float denominator = sums.denominators[half];
      denominator += __shfl_xor_sync(~0u, denominator, 1);
      denominator += __shfl_xor_sync(~0u, denominator, 2);
      const float inverse = __fdividef(1, denominator);
      const int local = thread / 32 * 16 + lane / 4 + 8 * half;
      const int row = FirstRow(pass) + local;
      const bool exists = row < place_.length;
      bf16* const out = static_cast<bf16*>(a_.out.data) +
                        static_cast<int64_t>(place_.token_begin + row) * a_.out.token_stride +
                        head_ * a_.out.head_stride;
#pragma unroll
      for (int g = 0; g < kWidth / 8; g += 2) {
        // Neighbouring lanes swap, so that each writes 8 bytes and four of them a sector.
        const auto pair = [&](int at) {
          return PackBf16(sums.values[4 * at + 2 * half] * inverse,
                          sums.values[4 * at + 2 * half + 1] * inverse);
        };
        const uint32_t first = pair(g), second = pair(g + 1);
        const uint32_t other = __shfl_xor_sync(~0u, odd ? first : second, 1);
        const int column = (g + odd) * 8 + lane % 4 / 2 * 4;
        if (exists && column < a_.value_dim) {
          *reinterpret_cast<uint2*>(out + column) =
              odd ? make_uint2(other, second) : make_uint2(first, other);
        }
      }
      if (lane % 4 == 0 && exists && Doubtful(denominator, args_, place_.length)) {
        atomicOr(&shared_.doubtful[group_][pass][local / 32], 1u << (local % 32));
      }
    }
  }

  const DirectArgs& args_;
  const AttentionArgs& a_;
  const SequenceTile place_;
  const int head_;
  const int passes_;
  const int rows_;   // of the block
  const int keys_;   // that any of them sees
  const int tiles_;  // of keys
  const int group_;
  Shared& shared_;
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

// Blocks (rows of a sequence x head), heads side by side as they are in memory. capacity: longest
// sequence that weights have room for.
template <int kRowGroups, int kKeyGroups>
__global__ void __launch_bounds__(kRowGroups* kKeyGroups* kGroupThreads, 1)
    DirectFused(const __grid_constant__ DirectArgs args, int passes, int capacity) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using C = Config<kRowGroups, kKeyGroups>;
  extern __shared__ char raw[];
  auto& shared = *reinterpret_cast<typename C::Shared*>(
      raw + (1024 - hopper::SharedAddress(raw) % 1024) % 1024);
  const AttentionArgs& a = args.attention;
  const int heads = a.head_end - a.head_begin;
  const int rows = kTile * kRowGroups * passes;
  const SequenceTile place = FindBlock(a.sequences, static_cast<int>(blockIdx.x) / heads, rows);
  if (!place.valid) return;
  Block<kRowGroups, kKeyGroups> block(
      args, place, a.head_begin + static_cast<int>(blockIdx.x) % heads, passes, shared);
  if (place.length > capacity) {
    block.RunExactly();
  } else {
    block.ClearDoubts();
    block.Run(C::SecondCopy(capacity, rows));
  }
  block.Repair();
#endif  // never launched elsewhere: FusedServes()
}

template <int kRowGroups, int kKeyGroups>
cudaError_t Launch(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream) {
  using C = Config<kRowGroups, kKeyGroups>;
  const AttentionArgs& a = args.attention;
  const auto kernel = DirectFused<kRowGroups, kKeyGroups>;
  const int bytes = C::kBytes + 8 * C::SecondCopy(plan.longest, plan.layout.rows());
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const int grid = plan.blocks * (a.head_end - a.head_begin);
  kernel<<<grid, C::kThreads, bytes, stream>>>(args, plan.layout.passes, plan.longest);
  return cudaGetLastError();
}

template <int kRowGroups, int kKeyGroups>
int MaxLength(const FusedLayout& layout) {
  using C = Config<kRowGroups, kKeyGroups>;
  if (layout.passes > 1) return C::kStages * kTile;
  return (kSharedLimit - C::kBytes) / 8 - layout.rows() - 2 * kTile;
}

template <typename Fn>
auto ForLayout(const FusedLayout& layout, const Fn& fn) {
  using std::integral_constant;
  switch (layout.row_groups) {
    case 4:
      return fn(integral_constant<int, 4>(), integral_constant<int, 1>());
    case 3:
      return fn(integral_constant<int, 3>(), integral_constant<int, 1>());
    case 2:
      return fn(integral_constant<int, 2>(), integral_constant<int, 2>());
    default:
      return fn(integral_constant<int, 1>(), integral_constant<int, 4>());
  }
}

template <typename T>
bool WholePieces(const TokenView& view, int channels) {
  const auto whole = [](int64_t elements) { return elements * sizeof(T) % 16 == 0; };
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && whole(view.token_stride) &&
         whole(view.head_stride) && channels % 8 == 0;
}

}  // namespace

bool FusedServes(const AttentionArgs& a) {
  if (a.dtype != DType::kBFloat16 || a.trigonometric || !a.normalize || a.bias.grid_width > 0 ||
      std::max({a.dim, a.features, a.value_dim}) > kWidth) {
    return false;
  }
  const TokenView w{const_cast<float*>(a.projection), a.projection_row_stride,
                    a.projection_head_stride};
  return WholePieces<bf16>(a.q, a.dim) && WholePieces<bf16>(a.k, a.dim) &&
         WholePieces<bf16>(a.v, a.value_dim) && WholePieces<bf16>(a.out, a.value_dim) &&
         WholePieces<float>(w, a.dim) && HasDirectHopper();
}

int FusedMaxLength(const FusedLayout& layout) {
  return ForLayout(layout, [&](auto rows, auto keys) {
    return MaxLength<decltype(rows)::value, decltype(keys)::value>(layout);
  });
}

cudaError_t LaunchDirectFused(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream) {
  return ForLayout(plan.layout, [&](auto rows, auto keys) {
    return Launch<decltype(rows)::value, decltype(keys)::value>(args, plan, stream);
  });
}

}  // namespace longwave::attention::cuda
