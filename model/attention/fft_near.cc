#include "model/attention/fft_near.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "model/attention/fft_kernels.h"
#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/threading.h"

namespace longwave::attention {
namespace {

// Chunks that a thread takes at a time.
constexpr int64_t kGrain = 8;

// Elements of the states that a thread sums at a time, with float64 sums in its cache.
constexpr int64_t kStatePiece = 512;

class NearSums {
 public:
  NearSums(const TableSplit& split, const NearInput& input, float* sums, float* denominators)
      : split_(split),
        input_(input),
        shape_(ChunkShape::Make(static_cast<int>(input.features), static_cast<int>(input.features),
                                static_cast<int>(input.value_dim))),
        chunks_((input.tokens + kChunk - 1) / kChunk),
        has_floor_(split.left_floor > 0 || split.right_floor > 0),
        sums_(sums),
        denominators_(denominators),
        ones_(input.value_dim, 1.0F),
        keys_(Floats(chunks_ * KeySize())),
        values_(Floats(chunks_ * ValueSize())),
        chunk_states_(Floats(has_floor_ ? chunks_ * StateSize() : 0)),
        states_(Floats(has_floor_ ? chunks_ * StateSize() : 0)) {}

  void Run() {
    For(Threading::kParallel, chunks_, kGrain, [&](int64_t begin, int64_t end) {
      const at::Tensor scratch = Floats(static_cast<int64_t>(shape_.scratch_size()));
      for (int64_t c = begin; c < end; ++c) Pack(c, scratch.mutable_data_ptr<float>());
    });
    if (has_floor_) {
      // A sweep over all chunks for each piece of the states: as much as many chunks.
      For(Threading::kParallel, StateSize(), kStatePiece, [&](int64_t begin, int64_t end) {
        for (int64_t piece = begin; piece < end; piece += kStatePiece)
          SumStates(piece, std::min(end, piece + kStatePiece));
      });
    }
    For(Threading::kParallel, chunks_, kGrain, [&](int64_t begin, int64_t end) {
      const at::Tensor tiles = Floats(kChunk * (shape_.features_pad + shape_.value_pad + 1) +
                                      static_cast<int64_t>(shape_.scratch_size()));
      for (int64_t c = begin; c < end; ++c) Solve(c, tiles.mutable_data_ptr<float>());
    });
  }

 private:
  // Aligned as the kernels want it.
  static at::Tensor Floats(int64_t count) { return at::empty({count}, at::kFloat); }
  int64_t KeySize() const { return int64_t{shape_.features_pad} * kChunk; }
  int64_t ValueSize() const { return int64_t{kChunk} * shape_.value_pad; }
  // A multiple of 16, so that all tiles are aligned.
  int64_t StateSize() const { return static_cast<int64_t>(shape_.state_size()); }
  int64_t Rows(int64_t c) const { return std::min<int64_t>(kChunk, input_.tokens - c * kChunk); }

  // Tiles and state of one chunk of keys.
  void Pack(int64_t c, float* scratch) {
    const int64_t rows = Rows(c), features = input_.features;
    float* const tile = Keys(c);
    std::fill_n(tile, KeySize(), 0.0F);
    const float* const keys = input_.keys + c * kChunk * features;
    for (int64_t j = 0; j < rows; ++j)
      for (int64_t f = 0; f < features; ++f) tile[f * kChunk + j] = keys[j * features + f];
    float* const values = Values(c);
    PackValues(shape_, input_.values + c * kChunk * input_.value_dim, input_.value_dim,
               static_cast<int>(rows), ones_.data(), values);
    if (!has_floor_) return;
    ChunkState(shape_, tile, values, /*decay=*/nullptr, scratch,
               chunk_states_.mutable_data_ptr<float>() + c * StateSize());
  }

  // Elements [begin, end) of the states that go with the floors: running sums in float64 from
  // either end of the sequence.
  void SumStates(int64_t begin, int64_t end) {
    const float* const from = chunk_states_.const_data_ptr<float>();
    float* const to = states_.mutable_data_ptr<float>();
    std::vector<double> sum(end - begin);
    const auto sweep = [&](int64_t query, int64_t key, double floor, bool first) {
      for (int64_t i = begin; i < end; ++i) {
        if (key >= 0 && key < chunks_) sum[i - begin] += from[key * StateSize() + i];
        const float value = static_cast<float>(floor * sum[i - begin]);
        float& state = to[query * StateSize() + i];
        state = first ? value : state + value;
      }
    };
    constexpr int64_t kFirst = TableSplit::kNearChunks + 1;
    for (int64_t c = 0; c < chunks_; ++c) sweep(c, c - kFirst, split_.left_floor, /*first=*/true);
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t c = chunks_ - 1; c >= 0; --c)
      sweep(c, c + kFirst, split_.right_floor, /*first=*/false);
  }

  // One chunk of queries.
  void Solve(int64_t c, float* tiles) {
    float* const queries = tiles;
    float* const out = queries + kChunk * shape_.features_pad;
    float* const den = out + kChunk * shape_.value_pad;
    float* const scratch = den + kChunk;
    std::fill(queries, scratch, 0.0F);
    const int64_t rows = Rows(c), features = input_.features;
    for (int64_t i = 0; i < rows; ++i)
      std::copy_n(input_.queries + (c * kChunk + i) * features, features,
                  queries + i * shape_.features_pad);
    constexpr int64_t kNear = TableSplit::kNearChunks;
    const int64_t first = std::max<int64_t>(0, c - kNear), last = std::min(chunks_ - 1, c + kNear);
    for (int64_t key = first; key <= last; ++key)
      NearTile(shape_, queries, Keys(key), Values(key), split_.Tile(key - c), kByDistance, scratch,
               out, den);
    if (has_floor_)
      FarProduct(shape_, queries, states_.const_data_ptr<float>() + c * StateSize(),
                 /*factor=*/nullptr, out, den);
    for (const Diagonal& diagonal : split_.diagonals) AddDiagonalOf(c, diagonal, out, den);
    for (int64_t i = 0; i < rows; ++i)
      std::copy_n(out + i * shape_.value_pad, input_.value_dim,
                  sums_ + (c * kChunk + i) * input_.value_dim);
    std::copy_n(den, rows, denominators_ + c * kChunk);
  }

  void AddDiagonalOf(int64_t c, const Diagonal& diagonal, float* out, float* den) const {
    const int64_t begin = std::max(c * kChunk, -diagonal.distance);
    const int64_t end = std::min(c * kChunk + Rows(c), input_.tokens - diagonal.distance);
    if (begin >= end) return;
    const int64_t key = begin + diagonal.distance, row = begin - c * kChunk;
    AddDiagonal(end - begin, input_.features, input_.value_dim, diagonal.weight,
                input_.queries + begin * input_.features, input_.keys + key * input_.features,
                input_.values + key * input_.value_dim, out + row * shape_.value_pad,
                shape_.value_pad, den + row);
  }

  float* Keys(int64_t c) const { return keys_.mutable_data_ptr<float>() + c * KeySize(); }
  float* Values(int64_t c) const { return values_.mutable_data_ptr<float>() + c * ValueSize(); }

  const TableSplit& split_;
  const NearInput& input_;
  const ChunkShape shape_;
  const int64_t chunks_;
  const bool has_floor_;
  float* const sums_;
  float* const denominators_;
  const std::vector<float> ones_;
  // Of all chunks, each as chunk_kernels.h lays it out.
  const at::Tensor keys_, values_, chunk_states_, states_;
};

}  // namespace

int64_t NearFloats(int64_t tokens, int64_t features, int64_t value_dim, bool floors, int threads) {
  const ChunkShape shape = ChunkShape::Make(static_cast<int>(features), static_cast<int>(features),
                                            static_cast<int>(value_dim));
  const int64_t chunks = (tokens + kChunk - 1) / kChunk;
  const int64_t tile = kChunk * int64_t{shape.features_pad + shape.value_pad + 1};
  const auto state = static_cast<int64_t>(shape.state_size());
  return chunks * (tile + (floors ? 2 * state : 0)) +
         threads * (tile + static_cast<int64_t>(shape.scratch_size()));
}

void SumNear(const TableSplit& split, const NearInput& input, float* sums, float* denominators) {
  NearSums(split, input, sums, denominators).Run();
}

}  // namespace longwave::attention
