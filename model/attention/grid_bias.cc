#include "model/attention/grid_bias.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/max.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/attention/fft_convolution.h"

namespace longwave::attention {
namespace {

class GridWeights final : public PairWeights {
 public:
  // table: [2 height - 1, 2 width - 1] of one head; must outlive this object.
  GridWeights(const float* table, int64_t height, int64_t width)
      : table_(table), height_(height), width_(width) {
    Finish(RowMaxima());
  }

  void Log(int64_t i, double* row) const override {
    const int64_t y = i / width_, x = i % width_;
    for (int64_t yj = 0; yj < height_; ++yj) {
      const float* b = &table_[Index(yj - y, -x)];
      std::copy_n(b, width_, row + yj * width_);
    }
  }

  // In the layout of the bias.
  WeightTable Table(double shift) const override {
    WeightTable table{shift, std::vector<float>((2 * height_ - 1) * Stride()), {}};
    for (size_t p = 0; p < table.values.size(); ++p) {
      table.values[p] = Weight(table_[p], shift);
    }
    return table;
  }

  float Multiply(const WeightTable& table, int64_t i, int64_t begin, int64_t count,
                 float* scores) const override {
    // Keys of one image row have weights that lie side by side.
    const int64_t y = i / width_, x = i % width_;
    float sum = 0;
    for (int64_t j = begin; j < begin + count;) {
      const int64_t yj = j / width_, xj = j % width_;
      const int64_t run = std::min(width_ - xj, begin + count - j);
      sum += MultiplyAndSum(&table.values[Index(yj - y, xj - x)], run, scores + (j - begin));
      j += run;
    }
    return sum;
  }

  bool AllZero(const WeightTable&, int64_t, int64_t, int64_t, int64_t) const override {
    return false;
  }

 private:
  int64_t Stride() const { return 2 * width_ - 1; }
  int64_t Index(int64_t dy, int64_t dx) const {
    return (dy + height_ - 1) * Stride() + dx + width_ - 1;
  }

  // Pixel (y, x) reaches four rectangles that meet in distance (0, 0): running maxima over each
  // quadrant.
  std::vector<double> RowMaxima() const {
    std::vector<double> result(height_ * width_, table_[Index(0, 0)]);
    std::vector<double> quadrant(height_ * width_);
    for (const int64_t sign_y : {-1, 1}) {
      for (const int64_t sign_x : {-1, 1}) {
        for (int64_t dy = 0; dy < height_; ++dy) {
          for (int64_t dx = 0; dx < width_; ++dx) {
            double& value = quadrant[dy * width_ + dx];
            value = table_[Index(sign_y * dy, sign_x * dx)];
            if (dy > 0) value = std::max(value, quadrant[(dy - 1) * width_ + dx]);
            if (dx > 0) value = std::max(value, quadrant[dy * width_ + dx - 1]);
          }
        }
        for (int64_t y = 0; y < height_; ++y) {
          for (int64_t x = 0; x < width_; ++x) {
            const int64_t dy = sign_y < 0 ? y : height_ - 1 - y;
            const int64_t dx = sign_x < 0 ? x : width_ - 1 - x;
            double& value = result[y * width_ + x];
            value = std::max(value, quadrant[dy * width_ + dx]);
          }
        }
      }
    }
    return result;
  }

  const float* const table_;
  const int64_t height_;
  const int64_t width_;
};

}  // namespace

GridBias::GridBias(const at::Tensor& table, int64_t height, int64_t width)
    : height_(height), width_(width) {
  const auto distances = [](int64_t size, int64_t grid) {
    const int64_t edge = size / 2;
    return at::arange(1 - grid, grid, at::kLong).clamp(-edge, edge) + edge;
  };
  table_ = table.index_select(1, distances(table.size(1), height))
               .index_select(2, distances(table.size(2), width))
               .contiguous();
}

std::unique_ptr<PairWeights> GridBias::Pairs(int64_t head, int64_t /*length*/) const {
  return std::make_unique<GridWeights>(
      table_.const_data_ptr<float>() + head * table_.size(1) * table_.size(2), height_, width_);
}

const PreparedGrid* GridBias::Grid(int64_t head) const {
  std::call_once(analysed_, [this] {
    const int64_t heads = table_.size(0), entries = table_.size(1) * table_.size(2);
    structures_.resize(heads);
    at::parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t h = begin; h < end; ++h) {
        const float* const b = table_.const_data_ptr<float>() + h * entries;
        PreparedGrid grid{AnalyzeGrid(b, height_, width_), AnalyzeSeparable(b, height_, width_)};
        if (grid.blocks.has_value() || grid.axes.has_value()) structures_[h] = std::move(grid);
      }
    });
  });
  return structures_[head].has_value() ? &*structures_[head] : nullptr;
}

std::shared_ptr<const Convolution> GridBias::Convolve(int64_t /*length*/) const {
  // No checkpoint in here: what another caller computes there may want the same spectra.
  std::call_once(transformed_, [this] {
    auto convolution =
        std::make_shared<Convolution>(table_.size(0), Convolution::Extents{height_, width_});
    for (int64_t head = 0; head < table_.size(0); ++head) {
      const at::Tensor b = table_[head].to(at::kDouble);
      convolution->SetWeights(head, (b - b.max()).exp());
    }
    convolution_ = std::move(convolution);
  });
  return convolution_;
}

int64_t GridBias::TransformSize(int64_t /*length*/) const {
  return TransformPoints({height_, width_});
}

}  // namespace longwave::attention
