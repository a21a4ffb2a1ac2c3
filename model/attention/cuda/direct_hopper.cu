#include <cstdint>

#include "model/attention/cuda/direct_hopper.cuh"
#include "model/attention/cuda/direct_tiles.cuh"
#include "model/attention/cuda/per_device.h"

// out_i = sum_j c[j-i] (phi(q_i) . phi(k_j)) v_j / sum_j c[j-i] (phi(q_i) . phi(k_j)) for a tile of
// rows, over all tiles of keys: FlashAttention-3's pipeline (arXiv 2407.08608) with a product in
// place of the softmax.
//
// One warpgroup, the producer, has phi(k) and v copied into stages of shared memory and computes
// the weights of the tile there. The others hold 64 rows each: S = phi(q) phi(k)^T by wgmma into
// registers, times the weights, to bfloat16, times v by wgmma. No maximum is needed, so a group
// meets no barrier but those of the stages; while one multiplies by weights, the others keep the
// tensor cores busy.
namespace longwave::attention::cuda {
namespace {

using hopper::Barrier;

constexpr int kGroupThreads = 128;
constexpr int kGroupRows = 64;

// What a block may have, less room for barriers.
constexpr int kSharedBytes = 224 * 1024;

// kParts: of an operand. kGroups: warpgroups that hold rows. kSteps: features / 16. kPanels: of v.
template <int kParts, int kGroups, int kSteps, int kPanels>
struct Config {
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kThreads = (kGroups + 1) * kGroupThreads;
  static constexpr int kFeaturePanels = (kSteps + 3) / 4;

  // Keys of a step.
  static constexpr int kKeys = kParts == 1 ? 128 : 64;
  static constexpr int kPanelBytes = kKeys * kPanelRowBytes;
  static constexpr int kQueryPanelBytes = kRows * kPanelRowBytes;

  // Weights of one step: of every distance from -(kRows - 1) to kKeys, ascending. So that a thread
  // may read any two neighbours with one aligned load, they are there twice, once moved by one; 16
  // banks apart, so that the threads of both kinds do not meet.
  static constexpr int kWindow = kRows + kKeys;
  static constexpr int kSecondCopy = (kWindow + 31) / 32 * 32 + 16;

  struct Stage {
    char keys[kParts][kFeaturePanels][kPanelBytes];
    char values[kParts][kPanels][kPanelBytes];
  };
  static constexpr int kQueryBytes = kParts * kFeaturePanels * kQueryPanelBytes;
  static constexpr int kRoom =
      (kSharedBytes - kQueryBytes) / static_cast<int>(sizeof(Stage) + 8 * kSecondCopy);
  static constexpr int kStages = kRoom < 4 ? kRoom : 4;
  static_assert(kStages >= 1);

  struct Shared {
    Stage stages[kStages];
    char queries[kParts][kFeaturePanels][kQueryPanelBytes];
    float weights[kStages][2 * kSecondCopy];
    Barrier full[kStages];
    Barrier empty[kStages];
    Barrier queries_full;
    int last[kStages];  // no tile follows: this stage holds none
  };
  static constexpr int kBytes = sizeof(Shared) + 1024;  // room to align

  // 64K registers of an SM shared out.
  static constexpr int kProducerRegisters = kGroups == 3 ? 32 : 40;
  static constexpr int kConsumerRegisters = kGroups == 3 ? 160 : 232;
  static_assert(kProducerRegisters + kGroups * kConsumerRegisters <= 512);
};

// Stage and parity of its barriers, round and round.
template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void Next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// first, last: steps of kKeys keys.
template <typename C, int kParts, int kPanels>
__device__ void Produce(const DirectArgs& args, const SequenceTile& tile, int head, int first,
                        int last, typename C::Shared& shared) {
  const DirectOperands& operands = args.operands;
  const BiasView& bias = args.attention.bias;
  const int table_head = args.attention.head_begin + head;
  const int edge = bias.columns / 2;
  const float* const table = bias.data + static_cast<int64_t>(table_head) * bias.columns + edge;
  const float shift = ShiftOf(args, table_head, tile, C::kRows);
  const int64_t key_row = PaddedBegin(tile);
  const int thread = threadIdx.x % kGroupThreads;

  if (thread == 0) {
    shared.queries_full.ArriveAndExpect(sizeof(shared.queries));
    const int64_t byte = (key_row + tile.row) * kPanelRowBytes;
    for (int part = 0; part < kParts; ++part) {
      for (int p = 0; p < C::kFeaturePanels; ++p) {
        hopper::BulkCopy(shared.queries[part][p],
                         PanelOf(operands, operands.q, part, head, p) + byte, C::kQueryPanelBytes,
                         &shared.queries_full);
      }
    }
  }
  Turn<C::kStages> turn;
  for (int k = first; k < last; ++k) {
    constexpr int kPerThread = (C::kWindow + kGroupThreads - 1) / kGroupThreads;
    const int first_distance = k * C::kKeys - tile.row - (C::kRows - 1);
    float weights[kPerThread];
    bool any = false;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int t = first_distance + thread + i * kGroupThreads;
      const float b = __ldg(table + max(-edge, min(t, edge)));
      weights[i] = bias.causal && t > 0 ? 0.0f : expf(b - shift);
      any = any || weights[i] != 0;
    }
    if (!hopper::AnyOf(any, /*barrier=*/1, kGroupThreads)) continue;
    shared.empty[turn.stage].Wait(turn.parity ^ 1);
    float* const copies = shared.weights[turn.stage];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int x = thread + i * kGroupThreads;
      if (x < C::kWindow) copies[x] = weights[i];
      if (x < C::kWindow && x > 0) copies[C::kSecondCopy + x - 1] = weights[i];
    }
    if (thread == 0) {
      shared.last[turn.stage] = 0;
      Barrier& full = shared.full[turn.stage];
      typename C::Stage& stage = shared.stages[turn.stage];
      full.ArriveAndExpect(sizeof(stage));
      const int64_t byte = (key_row + static_cast<int64_t>(k) * C::kKeys) * kPanelRowBytes;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int p = 0; p < C::kFeaturePanels; ++p) {
          hopper::BulkCopy(stage.keys[part][p], PanelOf(operands, operands.k, part, head, p) + byte,
                           C::kPanelBytes, &full);
        }
#pragma unroll
        for (int p = 0; p < kPanels; ++p) {
          hopper::BulkCopy(stage.values[part][p],
                           PanelOf(operands, operands.v, part, head, p) + byte, C::kPanelBytes,
                           &full);
        }
      }
    } else {
      shared.full[turn.stage].Arrive();
    }
    turn.Next();
  }
  shared.empty[turn.stage].Wait(turn.parity ^ 1);
  if (thread == 0) shared.last[turn.stage] = 1;
  shared.full[turn.stage].Arrive();
}

template <typename T>
__device__ void StorePair(T* to, float x, float y, bool second) {
  if constexpr (sizeof(T) == 2) {
    if (second && reinterpret_cast<uintptr_t>(to) % 4 == 0) {
      T pair[2] = {static_cast<T>(x), static_cast<T>(y)};
      *reinterpret_cast<uint32_t*>(to) = *reinterpret_cast<uint32_t*>(pair);
      return;
    }
  }
  to[0] = static_cast<T>(x);
  if (second) to[1] = static_cast<T>(y);
}

// S = phi(q) phi(k)^T for 64 rows: all pairs of parts whose product counts, small ones first.
template <typename C, int kParts, int kSteps>
__device__ void Multiply(const uint64_t (&queries)[kParts][C::kFeaturePanels],
                         const typename C::Stage& stage, float (&scores)[C::kKeys / 2]) {
  const uint64_t keys = hopper::Descriptor(hopper::SharedAddress(&stage.keys));
#pragma unroll
  for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
    for (int q = 0; q <= order; ++q) {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        // 16 features are 32 bytes of a row; descriptors count in 16.
        const int panel = (order - q) * C::kFeaturePanels + s / 4;
        hopper::WgmmaShared(scores, queries[q][s / 4] + 2 * (s % 4),
                            keys + panel * (C::kPanelBytes / 16) + 2 * (s % 4),
                            order < kParts - 1 || q > 0 || s > 0);
      }
    }
  }
}

template <typename C, typename T, int kParts, int kSteps, int kPanels>
__device__ void Consume(const DirectArgs& args, const SequenceTile& tile, int head,
                        typename C::Shared& shared) {
  const int thread = threadIdx.x % kGroupThreads;
  const int group = threadIdx.x / kGroupThreads;
  const int lane = thread % 32;
  // This thread's rows of the tile are `row` and `row` + 8; its columns 8 g + 2 (lane % 4) + {0,
  // 1}.
  const int row = group * kGroupRows + thread / 32 * 16 + lane / 4;

  // The weight of (row, column) is at column - row + kRows - 1 of the window.
  const int corner = 2 * (lane % 4) - row + C::kRows - 1;
  const int offset = corner % 2 == 0 ? corner : C::kSecondCopy + corner - 1;

  // Tensor cores do not round their sums to nearest: over many steps that is a bias, which only
  // bfloat16 may ignore. Otherwise each step has fresh sums.
  constexpr bool kFresh = kParts > 1;
  // A stage is given back during the next step, if there is a stage for that one.
  constexpr bool kOverlap = C::kStages > 1;
  constexpr int kSumRegisters = kPanelColumns / 2;
  float sums[kPanels][kSumRegisters];
  float fresh[kFresh ? kPanels : 1][kFresh ? kSumRegisters : 1];
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
#pragma unroll
    for (int i = 0; i < kSumRegisters; ++i) sums[p][i] = 0;
  }
  const auto finish_values = [&] {
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      if constexpr (kFresh) {
        hopper::Hold(fresh[p]);
#pragma unroll
        for (int i = 0; i < kSumRegisters; ++i) sums[p][i] += fresh[p][i];
      } else {
        hopper::Hold(sums[p]);
      }
    }
  };
  float denominators[2][2] = {};

  uint64_t queries[kParts][C::kFeaturePanels];
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int p = 0; p < C::kFeaturePanels; ++p) {
      queries[part][p] = hopper::Descriptor(
          hopper::SharedAddress(shared.queries[part][p] + group * kGroupRows * kPanelRowBytes));
    }
  }
  shared.queries_full.Wait(0);

  Turn<C::kStages> turn;
  int previous = -1;
  while (true) {
    shared.full[turn.stage].Wait(turn.parity);
    if (shared.last[turn.stage]) break;
    typename C::Stage& stage = shared.stages[turn.stage];
    float scores[C::kKeys / 2];
    hopper::WgmmaFence();
    Multiply<C, kParts, kSteps>(queries, stage, scores);
    hopper::WgmmaCommit();
    hopper::WgmmaWait<0>();
    hopper::Hold(scores);
    // The products with the previous step's values are done, too.
    if (!kFresh || previous >= 0) finish_values();
    if (previous >= 0) shared.empty[previous].Arrive();
    previous = kOverlap ? turn.stage : -1;

    const float* const weights = shared.weights[turn.stage] + offset;
    uint32_t products[kParts][C::kKeys / 16][4];
    float2 below = *reinterpret_cast<const float2*>(weights - 8);
#pragma unroll
    for (int g = 0; g < C::kKeys / 8; ++g) {
      const float2 here = *reinterpret_cast<const float2*>(weights + 8 * g);
      float a = scores[4 * g] * here.x, b = scores[4 * g + 1] * here.y;
      // Eight rows down is eight columns to the left.
      float c = scores[4 * g + 2] * below.x, d = scores[4 * g + 3] * below.y;
      below = here;
      denominators[0][0] += a;
      denominators[0][1] += b;
      denominators[1][0] += c;
      denominators[1][1] += d;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        products[part][g / 2][g % 2 * 2] = TakePart(a, b);
        products[part][g / 2][g % 2 * 2 + 1] = TakePart(c, d);
      }
    }

    const uint64_t values = hopper::Descriptor(hopper::SharedAddress(&stage.values));
    hopper::WgmmaFence();
#pragma unroll
    for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
      for (int part = 0; part <= order; ++part) {
#pragma unroll
        for (int s = 0; s < C::kKeys / 16; ++s) {
#pragma unroll
          for (int p = 0; p < kPanels; ++p) {
            const uint64_t from =
                values +
                (((order - part) * kPanels + p) * C::kPanelBytes + s * 16 * kPanelRowBytes) / 16;
            if constexpr (kFresh) {
              hopper::WgmmaRegisters(fresh[p], products[part][s], from,
                                     order < kParts - 1 || part > 0 || s > 0);
            } else {
              hopper::WgmmaRegisters(sums[p], products[part][s], from, true);
            }
          }
        }
      }
    }
    hopper::WgmmaCommit();
    if constexpr (!kOverlap) {
      hopper::WgmmaWait<0>();
      finish_values();
      shared.empty[turn.stage].Arrive();
    }
    turn.Next();
  }
  hopper::WgmmaWait<0>();
  if (previous >= 0) finish_values();

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float denominator = denominators[half][0] + denominators[half][1];
    denominator += __shfl_xor_sync(~0u, denominator, 1);
    denominator += __shfl_xor_sync(~0u, denominator, 2);
    const int position = tile.row + row + 8 * half;
    if (position >= tile.length) continue;
    if (args.splits > 1) {
      const int64_t at =
          (static_cast<int64_t>(blockIdx.z) * args.operands.heads + head) * args.operands.rows +
          PaddedBegin(tile) + position;
      if (lane % 4 == 0) args.denominators[at] = denominator;
      float* const to = args.sums + at * kPanels * kPanelColumns + 2 * (lane % 4);
#pragma unroll
      for (int p = 0; p < kPanels; ++p) {
#pragma unroll
        for (int g = 0; g < kPanelColumns / 8; ++g) {
          *reinterpret_cast<float2*>(to + p * kPanelColumns + 8 * g) =
              make_float2(sums[p][4 * g + 2 * half], sums[p][4 * g + 2 * half + 1]);
        }
      }
      continue;
    }
    const AttentionArgs& a = args.attention;
    const int token = tile.token_begin + position;
    if (lane % 4 == 0 && Doubtful(denominator, args, tile.length)) {
      MarkDoubtful(args, token, a.head_begin + head);
    }
    const float inverse = 1 / denominator;
    T* const to = static_cast<T*>(a.out.data) + token * a.out.token_stride +
                  (a.head_begin + head) * a.out.head_stride;
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int g = 0; g < kPanelColumns / 8; ++g) {
        const int column = p * kPanelColumns + 8 * g + 2 * (lane % 4);
        if (column >= a.value_dim) continue;
        StorePair(to + column, sums[p][4 * g + 2 * half] * inverse,
                  sums[p][4 * g + 2 * half + 1] * inverse, column + 1 < a.value_dim);
      }
    }
  }
}

// Blocks (tile of rows, head, split of the keys).
template <typename T, int kParts, int kGroups, int kSteps, int kPanels>
__global__ void __launch_bounds__((kGroups + 1) * kGroupThreads, 1)
    DirectHopper(const __grid_constant__ DirectArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using C = Config<kParts, kGroups, kSteps, kPanels>;
  extern __shared__ char raw[];
  auto& shared = *reinterpret_cast<typename C::Shared*>(
      raw + (1024 - hopper::SharedAddress(raw) % 1024) % 1024);

  // The last rows of a causal sequence take longest, so they start first.
  const int index = args.attention.bias.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const SequenceTile tile = FindTile(args.attention.sequences, index, C::kRows);
  if (!tile.valid) return;
  const int keys = args.attention.bias.causal ? min(tile.length, tile.row + C::kRows) : tile.length;
  const int steps = (keys + C::kKeys - 1) / C::kKeys;
  const int split = static_cast<int>(blockIdx.z);
  const int first = static_cast<int>(static_cast<int64_t>(steps) * split / args.splits);
  const int last = static_cast<int>(static_cast<int64_t>(steps) * (split + 1) / args.splits);

  if (threadIdx.x == 0) {
    for (int s = 0; s < C::kStages; ++s) {
      shared.full[s].Init(kGroupThreads);
      // Every thread speaks for its own reads: racecheck does not see that a warp's barrier orders
      // those of the others before the arrival of one.
      shared.empty[s].Init(kGroups * kGroupThreads);
    }
    shared.queries_full.Init(1);
    hopper::FenceBarrierInit();
  }
  __syncthreads();
  const int head = static_cast<int>(blockIdx.y);
  if (threadIdx.x >= kGroups * kGroupThreads) {
    hopper::ShrinkRegisters<C::kProducerRegisters>();
    Produce<C, kParts, kPanels>(args, tile, head, first, last, shared);
  } else {
    hopper::GrowRegisters<C::kConsumerRegisters>();
    Consume<C, T, kParts, kSteps, kPanels>(args, tile, head, shared);
  }
#endif  // never launched elsewhere: HasDirectHopper()
}

template <typename T, int kParts, int kGroups, int kSteps, int kPanels>
cudaError_t Launch(const DirectArgs& args, cudaStream_t stream) {
  using C = Config<kParts, kGroups, kSteps, kPanels>;
  const auto kernel = DirectHopper<T, kParts, kGroups, kSteps, kPanels>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kBytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(TileCount(args.attention.sequences, C::kRows), args.operands.heads, args.splits);
  kernel<<<grid, C::kThreads, C::kBytes, stream>>>(args);
  return cudaGetLastError();
}

template <typename T, int kParts, int kGroups, int kPanels>
cudaError_t LaunchForFeatures(const DirectArgs& args, cudaStream_t stream) {
  const AttentionArgs& a = args.attention;
  const int features = a.trigonometric ? 2 * a.features : a.features;
  if (features <= 16) return Launch<T, kParts, kGroups, 1, kPanels>(args, stream);
  if (features <= 32) return Launch<T, kParts, kGroups, 2, kPanels>(args, stream);
  if (features <= 64) return Launch<T, kParts, kGroups, 4, kPanels>(args, stream);
  return Launch<T, kParts, kGroups, 8, kPanels>(args, stream);
}

template <typename T, int kParts>
cudaError_t LaunchInParts(const DirectArgs& args, cudaStream_t stream) {
  if (args.operands.v.panels == 2) return LaunchForFeatures<T, kParts, 2, 2>(args, stream);
  if constexpr (kParts == 1) {
    if (args.row_groups == 3) return LaunchForFeatures<T, kParts, 3, 1>(args, stream);
  }
  return LaunchForFeatures<T, kParts, 2, 1>(args, stream);
}

}  // namespace

bool HasDirectHopper() {
  static OncePerDevice compiled;
  return compiled.Get([] { return CompiledFor(DirectHopper<__nv_bfloat16, 1, 2, 4, 1>, 90, 90); });
}

cudaError_t LaunchDirectHopper(const DirectArgs& args, cudaStream_t stream) {
  switch (args.attention.dtype) {
    case DType::kBFloat16:
      return LaunchInParts<__nv_bfloat16, 1>(args, stream);
    case DType::kHalf:
      return LaunchInParts<__half, 2>(args, stream);
    case DType::kFloat:
      return LaunchInParts<float, 3>(args, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace longwave::attention::cuda
