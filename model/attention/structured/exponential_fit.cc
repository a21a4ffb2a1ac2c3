#include "model/attention/structured/exponential_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

namespace longwave::attention {
namespace {

constexpr int kSamples = 600;

// Rates to choose from, evenly spaced in the logarithm: from low / end to high / begin.
struct Rates {
  int count;
  double low, high;
};
// The first ones can keep coarse tolerances only.
constexpr double kCoarseTolerance = 1e-4;
constexpr int kCoarseRates = 9;
constexpr Rates kRates[] = {{6, 0.6, 4},   {7, 0.6, 4},    {8, 0.6, 4},    {9, 0.6, 4},
                            {10, 0.6, 4},  {11, 0.6, 4},   {12, 0.6, 4},   {13, 0.6, 5},
                            {15, 0.6, 6},  {16, 0.02, 12}, {20, 0.02, 12}, {24, 0.02, 12},
                            {28, 0.02, 12}};

// Integers from begin to end, evenly spaced in log t, both ends included.
std::vector<int64_t> Grid(int64_t begin, int64_t end) {
  std::vector<int64_t> grid;
  const double from = std::log(static_cast<double>(begin));
  const double step = (std::log(static_cast<double>(end)) - from) / (kSamples - 1);
  for (int i = 0; i < kSamples; ++i) {
    const int64_t t = std::clamp<int64_t>(std::llround(std::exp(from + step * i)), begin, end);
    if (grid.empty() || t > grid.back()) grid.push_back(t);
  }
  return grid;
}

// min |A x - 1| over x >= 0 (Lawson and Hanson, "Solving Least Squares Problems", chapter 23). A:
// float64 [rows, columns].
std::vector<double> NonNegativeLeastSquares(const at::Tensor& a) {
  const int64_t columns = a.size(1);
  const at::Tensor ones = at::ones({a.size(0), 1}, a.options());
  std::vector<double> x(columns, 0.0);
  std::vector<bool> passive(columns, false);
  const auto solve = [&](const std::vector<int64_t>& set) {
    const at::Tensor index = at::tensor(set, at::kLong);
    const at::Tensor part = a.index_select(1, index);
    at::Tensor solution = std::get<0>(at::linalg_lstsq(part, ones, std::nullopt, "gelsd"));
    solution = solution.contiguous();
    return std::vector<double>(solution.data_ptr<double>(),
                               solution.data_ptr<double>() + set.size());
  };
  for (int64_t round = 0; round < 3 * columns; ++round) {
    const at::Tensor current = at::tensor(x, a.options()).unsqueeze(1);
    const at::Tensor gradient = a.t().mm(ones - a.mm(current)).contiguous();
    const double* slope = gradient.data_ptr<double>();
    int64_t best = -1;
    for (int64_t i = 0; i < columns; ++i)
      if (!passive[i] && slope[i] > 1e-13 && (best < 0 || slope[i] > slope[best])) best = i;
    if (best < 0) break;
    passive[best] = true;
    while (true) {
      std::vector<int64_t> set;
      for (int64_t i = 0; i < columns; ++i)
        if (passive[i]) set.push_back(i);
      if (set.empty()) break;
      const std::vector<double> wanted = solve(set);
      double step = 1.0;
      for (size_t s = 0; s < set.size(); ++s)
        if (wanted[s] <= 0.0) step = std::min(step, x[set[s]] / (x[set[s]] - wanted[s]));
      for (size_t s = 0; s < set.size(); ++s) {
        double& value = x[set[s]];
        value += step * (wanted[s] - value);
        if (step < 1.0 && value <= 1e-300) {
          value = 0.0;
          passive[set[s]] = false;
        }
      }
      if (step == 1.0) break;
      // The newest column may leave at once: then no progress is possible.
      if (!passive[best] && x[best] == 0.0) return x;
    }
  }
  return x;
}

}  // namespace

std::vector<Exponential> FitExponentials(const std::function<double(int64_t)>& c, int64_t begin,
                                         int64_t end, int max_terms, double tolerance) {
  if (begin < 1 || end <= begin) return {};
  const std::vector<int64_t> grid = Grid(begin, end);
  const int64_t rows = static_cast<int64_t>(grid.size());
  std::vector<double> value(grid.size());
  for (size_t i = 0; i < grid.size(); ++i) {
    value[i] = c(grid[i]);
    if (!(value[i] > 0.0) || !std::isfinite(value[i])) return {};
    // Sums of decaying exponentials never grow.
    if (i > 0 && value[i] > value[i - 1] * (1.0 + 1e-9)) return {};
  }
  for (size_t t = tolerance >= kCoarseTolerance ? 0 : kCoarseRates; t < std::size(kRates); ++t) {
    const Rates& rates = kRates[t];
    std::vector<double> rate = {0.0};
    const double low = std::log(rates.low / static_cast<double>(end));
    const double high = std::log(rates.high / static_cast<double>(begin));
    for (int r = 0; r < rates.count; ++r) {
      rate.push_back(std::exp(low + (high - low) * r / (rates.count - 1)));
    }
    const int64_t columns = static_cast<int64_t>(rate.size());
    at::Tensor a = at::empty({rows, columns}, at::kDouble);
    double* cell = a.data_ptr<double>();
    std::vector<double> norm(rate.size(), 0.0);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t r = 0; r < columns; ++r) {
        // Starting the decay at `begin` keeps the columns comparable.
        const double decay = std::exp(-rate[r] * static_cast<double>(grid[i] - begin)) / value[i];
        cell[i * columns + r] = decay;
        norm[r] = std::max(norm[r], decay);
      }
    for (int64_t i = 0; i < rows * columns; ++i) cell[i] /= norm[i % columns];
    const std::vector<double> x = NonNegativeLeastSquares(a);
    double worst = 0.0;
    for (int64_t i = 0; i < rows; ++i) {
      double sum = 0.0;
      for (int64_t r = 0; r < columns; ++r) sum += cell[i * columns + r] * x[r];
      worst = std::max(worst, std::abs(sum - 1.0));
    }
    std::vector<Exponential> terms;
    for (int64_t r = 0; r < columns; ++r)
      if (x[r] > 0.0)
        terms.push_back({rate[r], x[r] / norm[r] * std::exp(rate[r] * static_cast<double>(begin))});
    if (worst < tolerance) {
      if (static_cast<int>(terms.size()) > max_terms) return {};
      return terms;
    }
  }
  return {};
}

}  // namespace longwave::attention
