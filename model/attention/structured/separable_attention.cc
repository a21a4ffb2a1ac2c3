#include "model/attention/structured/separable_attention.h"

#include <algorithm>
#include <vector>

#include "model/attention/structured/aligned.h"
#include "model/attention/structured/dense_kernels.h"

namespace longwave::attention {
namespace {

// Where a head's arrays lie in its workspace. Tokens are in chunks of the grid's rows.
struct Layout {
  std::size_t phi_k, phi_q, values, out, den, sums, total;
  std::size_t column;  // floats from one column's sums to the next

  Layout(const ChunkShape& shape, const SeparableStructure& structure) {
    const auto [height, width] = structure.grid;
    const std::size_t chunks = static_cast<std::size_t>((height * width + kChunk - 1) / kChunk);
    // A column more, so that rows of the sums do not compete for one set of the cache.
    column = static_cast<std::size_t>(height) * std::max(shape.value_pad, shape.features_pad) +
             kAlignment;
    std::size_t next = 0;
    const auto take = [&next](std::size_t floats) {
      const std::size_t begin = next;
      next += Aligned(floats);
      return begin;
    };
    phi_k = take(chunks * kChunk * shape.features_pad);
    phi_q = take(chunks * kChunk * shape.features_pad);
    values = take(chunks * kChunk * shape.value_pad);
    out = take(chunks * kChunk * shape.value_pad);
    den = take(chunks * kChunk);
    sums = take(static_cast<std::size_t>(width) * column);
    total = next;
  }
};

// The matrix of the weights along an axis: [size queries][size keys].
AlignedFloats MatrixOf(const std::vector<float>& weights) {
  const int64_t size = (static_cast<int64_t>(weights.size()) + 1) / 2;
  AlignedFloats matrix(static_cast<std::size_t>(size * size));
  for (int64_t i = 0; i < size; ++i)
    std::copy_n(&weights[size - 1 - i], size, matrix.data() + i * size);
  return matrix;
}

class SeparablePasses {
 public:
  SeparablePasses(const HeadProblem& problem, const SeparableStructure& structure)
      : problem_(problem),
        height_(static_cast<int>(structure.grid[0])),
        width_(static_cast<int>(structure.grid[1])),
        columns_(MatrixOf(structure.weights[0])),
        rows_(MatrixOf(structure.weights[1])),
        layout_(shape_, structure),
        base_(problem.workspace.Get(layout_.total)),
        factors_(ValueFactors(input_, shape_.value_dim)),
        check_(input_.tokens, shape_.features) {}

  bool Run() {
    const int64_t chunks = (input_.tokens + kChunk - 1) / kChunk;
    For(problem_.threading, chunks, 8, [&](int64_t begin, int64_t end) { Load(begin, end); });
    Denominators();
    for (int f = 0; f < shape_.features; ++f) AddFeature(f);
    For(problem_.threading, height_, 1, [&](int64_t begin, int64_t end) { Write(begin, end); });
    return check_.passed();
  }

 private:
  float PhiK(int64_t token, int f) const {
    const float* const tile = base_ + layout_.phi_k + token / kChunk * kChunk * shape_.features_pad;
    return tile[f * kChunk + token % kChunk];
  }
  const float* PhiQ(int64_t token) const {
    return base_ + layout_.phi_q + token * shape_.features_pad;
  }
  float* Values(int64_t token) const { return base_ + layout_.values + token * shape_.value_pad; }
  float* Out(int64_t token) const { return base_ + layout_.out + token * shape_.value_pad; }
  float* Den() const { return base_ + layout_.den; }
  float* Sums(int64_t x) const { return base_ + layout_.sums + x * layout_.column; }

  void Load(int64_t begin, int64_t end) const {
    const AlignedFloats scratch(shape_.scratch_size());
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first = c * kChunk;
      const int rows = static_cast<int>(std::min<int64_t>(kChunk, input_.tokens - first));
      KeyFeatures(shape_, problem_.scale, input_.k + first * input_.k_stride, input_.k_stride, rows,
                  problem_.projection.rows(), scratch.data(),
                  base_ + layout_.phi_k + first * shape_.features_pad);
      QueryFeatures(shape_, problem_.scale, input_.q + first * input_.q_stride, input_.q_stride,
                    rows, problem_.projection.columns(), scratch.data(),
                    base_ + layout_.phi_q + first * shape_.features_pad);
      PackValues(shape_, input_.v + first * input_.v_stride, input_.v_stride, rows, factors_.data(),
                 Values(first));
      std::fill_n(Out(first), kChunk * shape_.value_pad, 0.0F);
    }
  }

  // Sums along the rows: for every row of the grid, make(row, tile) writes [width][size].
  template <typename Make>
  void AlongRows(int size, const Make& make) const {
    For(problem_.threading, height_, 1, [&](int64_t begin, int64_t end) {
      const AlignedFloats tile(static_cast<std::size_t>(width_) * size);
      for (int64_t y = begin; y < end; ++y) {
        make(y, tile.data());
        DenseProduct(width_, width_, size, rows_.data(), tile.data(), Sums(0) + y * size,
                     layout_.column);
      }
    });
  }

  // Sums along the columns: use(column, tile) reads [height][size].
  template <typename Use>
  void AlongColumns(int size, const Use& use) const {
    For(problem_.threading, width_, 1, [&](int64_t begin, int64_t end) {
      const AlignedFloats tile(static_cast<std::size_t>(height_) * size);
      for (int64_t x = begin; x < end; ++x) {
        DenseProduct(height_, height_, size, columns_.data(), Sums(x), tile.data(), size);
        use(x, tile.data());
      }
    });
  }

  // All features at once, without values.
  void Denominators() const {
    const int size = shape_.features_pad;
    AlongRows(size, [&](int64_t y, float* tile) {
      for (int64_t x = 0; x < width_; ++x)
        for (int f = 0; f < size; ++f) tile[x * size + f] = PhiK(y * width_ + x, f);
    });
    AlongColumns(size, [&](int64_t x, const float* tile) {
      for (int64_t y = 0; y < height_; ++y) {
        const float* const phi = PhiQ(y * width_ + x);
        float sum = 0.0F;
        for (int f = 0; f < size; ++f) sum += phi[f] * tile[y * size + f];
        Den()[y * width_ + x] = sum;
      }
    });
  }

  void AddFeature(int f) const {
    const int size = shape_.value_pad;
    AlongRows(size, [&](int64_t y, float* tile) {
      std::vector<float> phi(width_);
      for (int64_t x = 0; x < width_; ++x) phi[x] = PhiK(y * width_ + x, f);
      ScaleRows(width_, size, phi.data(), Values(y * width_), tile);
    });
    AlongColumns(size, [&](int64_t x, const float* tile) {
      std::vector<float> phi(height_);
      for (int64_t y = 0; y < height_; ++y) phi[y] = PhiQ(y * width_ + x)[f];
      AddScaledRows(height_, size, phi.data(), tile, Out(x),
                    static_cast<std::size_t>(width_) * size);
    });
  }

  // Rows of the grid.
  void Write(int64_t begin, int64_t end) {
    for (int64_t token = begin * width_; token < end * width_; ++token) {
      const float den = Den()[token];
      check_.Add(den);
      Divide(shape_, Out(token), &den, factors_.data(), /*rows=*/1,
             input_.out + token * input_.out_stride, input_.out_stride);
    }
  }

  const HeadProblem problem_;
  const ChunkShape& shape_ = problem_.shape;
  const HeadInput& input_ = problem_.input;
  const int height_;
  const int width_;
  const AlignedFloats columns_;  // weights between the tokens of a column
  const AlignedFloats rows_;     // and of a row
  const Layout layout_;
  float* const base_;
  const std::vector<float> factors_;
  DenominatorCheck check_;
};

}  // namespace

bool SeparableAttention(const HeadProblem& problem, const SeparableStructure& structure) {
  return SeparablePasses(problem, structure).Run();
}

double SeparableFlop(const ChunkShape& shape, const SeparableStructure& structure) {
  const auto [height, width] = structure.grid;
  const double m = shape.features_pad, e = shape.value_pad;
  return static_cast<double>(height * width) *
         (2.0 * static_cast<double>(height + width) * (m * e + m) + 4.0 * m * (e + shape.dim_pad));
}

std::size_t SeparableFloats(const ChunkShape& shape, const SeparableStructure& structure) {
  return Layout(shape, structure).total;
}

}  // namespace longwave::attention
