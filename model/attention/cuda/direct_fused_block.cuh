#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_BLOCK_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_BLOCK_CUH_

#include "model/attention/cuda/direct_fused_features.cuh"
#include "model/attention/cuda/exact_rows.cuh"

// A thread block of the fused kernel. Tiles of 64 keys go round a ring of stages in shared memory.
// Each is loaded by one warpgroup, its owner, which turns k into phi(k) in place: half of that is
// exponentials, which hide behind the products of the other warpgroups. phi(q) stays in registers.
// Warpgroups meet at the barriers of stages only, so that they drift apart and keep the tensor
// cores busy.
namespace longwave::attention::cuda::fused {

using hopper::Barrier;

constexpr int kMaxPasses = 2;

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

// The index-th block of `rows` rows of the sequences that the launch takes. By a warp.
__device__ inline SequenceTile FindBlock(const SequenceView& sequences, int index, int rows) {
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

// By a warpgroup. Not inlined: it would cost everyone registers.
__device__ __noinline__ inline void RepairRow(const AttentionArgs& a, int token, int head,
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

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_BLOCK_CUH_
