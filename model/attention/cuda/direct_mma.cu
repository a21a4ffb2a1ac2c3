#include <cstdint>

#include "model/attention/cuda/direct_tiles.cuh"

// The quadratic part of "direct" with mma.sync and cp.async: every architecture from sm_80 on, and
// tables of a grid. The tiles and parts are those of direct_hopper.cu; a warp holds 16 rows.
namespace longwave::attention::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kRows = 16 * kWarps;
constexpr int kKeys = 64;
constexpr int kPanelBytes = kKeys * kPanelRowBytes;

// A block of sm_89 may have 99 KB.
constexpr int kSharedBytes = 98 * 1024;

template <int kParts, int kSteps, int kPanels>
struct Config {
  static constexpr int kFeaturePanels = (kSteps + 3) / 4;
  struct Stage {
    char keys[kParts][kFeaturePanels][kPanelBytes];
    char values[kParts][kPanels][kPanelBytes];
  };
  static constexpr int kStages = 2 * sizeof(Stage) <= kSharedBytes ? 2 : 1;
  struct Shared {
    Stage stages[kStages];
    float weights[kRows + kKeys];  // of distances from -(kRows - 1), ascending
  };
};

template <typename T>
__device__ void Store(const DirectArgs& args, int token, int head, int column, float x) {
  const AttentionArgs& a = args.attention;
  if (column >= a.value_dim) return;
  static_cast<T*>(
      a.out.data)[token * a.out.token_stride + (a.head_begin + head) * a.out.head_stride + column] =
      static_cast<T>(x);
}

// Blocks (tile of rows, head).
template <typename T, int kParts, int kSteps, int kPanels>
__global__ void __launch_bounds__(kThreads) DirectMma(const __grid_constant__ DirectArgs args) {
  using C = Config<kParts, kSteps, kPanels>;
  extern __shared__ __align__(128) char raw[];
  auto& shared = *reinterpret_cast<typename C::Shared*>(raw);
  const DirectOperands& operands = args.operands;
  const BiasView& bias = args.attention.bias;
  const int index = bias.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const SequenceTile tile = FindTile(args.attention.sequences, index, kRows);
  if (!tile.valid) return;
  const int head = static_cast<int>(blockIdx.y);
  const int table_head = args.attention.head_begin + head;
  const bool grid = bias.grid_width > 0;
  const float shift = ShiftOf(args, table_head, tile, kRows);
  const int64_t first_row = PaddedBegin(tile);
  const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;
  // This thread's rows of the tile are `row` and `row` + 8; its columns 8 g + 2 (lane % 4) + {0,
  // 1}.
  const int row = warp_row + lane / 4;

  const int keys = bias.causal ? min(tile.length, tile.row + kRows) : tile.length;
  const int steps = (keys + kKeys - 1) / kKeys;
  const auto copy_step = [&](int step) {
    typename C::Stage& stage = shared.stages[step % C::kStages];
    const int64_t byte = (first_row + static_cast<int64_t>(step) * kKeys) * kPanelRowBytes;
    for (int i = static_cast<int>(threadIdx.x) * 16; i < kPanelBytes; i += kThreads * 16) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int p = 0; p < C::kFeaturePanels; ++p) {
          CopyAsync16(stage.keys[part][p] + i,
                      PanelOf(operands, operands.k, part, head, p) + byte + i, true);
        }
#pragma unroll
        for (int p = 0; p < kPanels; ++p) {
          CopyAsync16(stage.values[part][p] + i,
                      PanelOf(operands, operands.v, part, head, p) + byte + i, true);
        }
      }
    }
    CommitCopies();
  };
  copy_step(0);

  uint32_t queries[kParts][kSteps][4];
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const char* const panel = PanelOf(operands, operands.q, part, head, s / 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t r = first_row + tile.row + row + 8 * (i % 2);
        const int chunk = 2 * (s % 4) + i / 2;
        queries[part][s][i] = *reinterpret_cast<const uint32_t*>(
            panel + r * kPanelRowBytes + ((chunk ^ static_cast<int>(r & 7)) << 4) + 4 * (lane % 4));
      }
    }
  }

  float sums[kPanels * 8][4] = {};
  float denominators[2] = {};
  for (int step = 0; step < steps; ++step) {
    const int first_key = step * kKeys;
    bool any = grid;
    if (!grid) {
      for (int x = threadIdx.x; x < kRows + kKeys; x += kThreads) {
        const int t = first_key - tile.row - (kRows - 1) + x;
        const int edge = bias.columns / 2;
        const float b = __ldg(bias.data + static_cast<int64_t>(table_head) * bias.columns + edge +
                              max(-edge, min(t, edge)));
        const float weight = bias.causal && t > 0 ? 0.0f : expf(b - shift);
        shared.weights[x] = weight;
        any = any || weight != 0;
      }
    }
    if (C::kStages == 2 && step + 1 < steps) {
      copy_step(step + 1);
      WaitForCopies<1>();
    } else {
      WaitForCopies<0>();
    }
    if (__syncthreads_or(any)) {
      const typename C::Stage& stage = shared.stages[step % C::kStages];
      float scores[kKeys / 8][4] = {};
      // A matrix of ldmatrix: 8 keys times 8 features, or 8 keys times 8 channels.
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int g = 0; g < kKeys / 8; g += 2) {
#pragma unroll
          for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
            for (int part = 0; part <= order; ++part) {
              uint32_t b[4];
              LoadTiles(
                  b, stage.keys[order - part][s / 4] +
                         SwizzledByte(8 * (g + lane / 16) + lane % 8, 2 * (s % 4) + lane / 8 % 2));
              MultiplyAdd(scores[g], queries[part][s], b[0], b[1]);
              MultiplyAdd(scores[g + 1], queries[part][s], b[2], b[3]);
            }
          }
        }
      }
      uint32_t products[kParts][kKeys / 16][4];
#pragma unroll
      for (int g = 0; g < kKeys / 8; ++g) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int r = row + 8 * half;
          float x[2];
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int column = 8 * g + 2 * (lane % 4) + e;
            float weight;
            if (!grid) {
              weight = shared.weights[column - r + kRows - 1];
            } else {
              const int j = min(first_key + column, tile.length - 1);
              weight =
                  expf(BiasAt(bias, table_head, min(tile.row + r, tile.length - 1), j) - shift);
            }
            x[e] = scores[g][2 * half + e] * weight;
          }
          denominators[half] += x[0] + x[1];
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            products[part][g / 2][g % 2 * 2 + half] = TakePart(x[0], x[1]);
          }
        }
      }
      // Fresh sums in every step: tensor cores do not round to nearest, and over many steps that
      // is a bias.
#pragma unroll
      for (int p = 0; p < kPanels; ++p) {
#pragma unroll
        for (int g = 0; g < 8; g += 2) {
          float fresh[2][4] = {};
#pragma unroll
          for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
            for (int part = 0; part <= order; ++part) {
#pragma unroll
              for (int s = 0; s < kKeys / 16; ++s) {
                uint32_t b[4];
                LoadTilesTransposed(b, stage.values[order - part][p] +
                                           SwizzledByte(16 * s + lane % 16, g + lane / 16));
                MultiplyAdd(fresh[0], products[part][s], b[0], b[1]);
                MultiplyAdd(fresh[1], products[part][s], b[2], b[3]);
              }
            }
          }
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            sums[8 * p + g][i] += fresh[0][i];
            sums[8 * p + g + 1][i] += fresh[1][i];
          }
        }
      }
    }
    __syncthreads();
    if (C::kStages == 1 && step + 1 < steps) copy_step(step + 1);
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float denominator = denominators[half];
    denominator += __shfl_xor_sync(~0u, denominator, 1);
    denominator += __shfl_xor_sync(~0u, denominator, 2);
    const int position = tile.row + row + 8 * half;
    if (position >= tile.length) continue;
    const int token = tile.token_begin + position;
    if (lane % 4 == 0 && Doubtful(denominator, args, tile.length)) {
      MarkDoubtful(args, token, table_head);
    }
    const float inverse = 1 / denominator;
#pragma unroll
    for (int g = 0; g < kPanels * 8; ++g) {
      const int column = 8 * g + 2 * (lane % 4);
      Store<T>(args, token, head, column, sums[g][2 * half] * inverse);
      Store<T>(args, token, head, column + 1, sums[g][2 * half + 1] * inverse);
    }
  }
}

template <typename T, int kParts, int kSteps, int kPanels>
cudaError_t Launch(const DirectArgs& args, cudaStream_t stream) {
  using C = Config<kParts, kSteps, kPanels>;
  constexpr int kBytes = sizeof(typename C::Shared);
  const auto kernel = DirectMma<T, kParts, kSteps, kPanels>;
  if (kBytes > 48 * 1024) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    if (error != cudaSuccess) return error;
  }
  const dim3 blocks(TileCount(args.attention.sequences, kRows), args.operands.heads);
  kernel<<<blocks, kThreads, kBytes, stream>>>(args);
  return cudaGetLastError();
}

template <typename T, int kParts>
cudaError_t LaunchInParts(const DirectArgs& args, cudaStream_t stream) {
  const AttentionArgs& a = args.attention;
  const int features = a.trigonometric ? 2 * a.features : a.features;
  const bool narrow = args.operands.v.panels == 1;
  if (features <= 64) {
    return narrow ? Launch<T, kParts, 4, 1>(args, stream) : Launch<T, kParts, 4, 2>(args, stream);
  }
  return narrow ? Launch<T, kParts, 8, 1>(args, stream) : Launch<T, kParts, 8, 2>(args, stream);
}

}  // namespace

cudaError_t LaunchDirectMma(const DirectArgs& args, cudaStream_t stream) {
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
