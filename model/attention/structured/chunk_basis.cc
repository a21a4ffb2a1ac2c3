#include "model/attention/structured/chunk_basis.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "model/attention/structured/chunk_kernels.h"

namespace longwave::attention {
namespace {

// The sum of a side's terms by the distance from the first to the last of an offset:
// [2 chunk - 1].
std::vector<double> TileWeights(const std::vector<FarTerm>& terms, int64_t offset, int64_t chunk) {
  std::vector<double> weights(2 * chunk - 1, 0.0);
  for (const FarTerm& term : terms)
    for (int64_t s = 0; s < 2 * chunk - 1; ++s)
      weights[s] += std::exp(term.log_amplitude -
                             term.rate * static_cast<double>(offset * chunk + s - (chunk - 1)));
  return weights;
}

// Which of TileWeights lies between place i of the query chunk and place j of the key chunk.
int64_t TilePlace(bool left, int64_t i, int64_t j, int64_t chunk) {
  return chunk - 1 + (left ? i - j : j - i);
}

std::vector<FarTerm> OfSide(const std::vector<FarTerm>& terms, bool left) {
  std::vector<FarTerm> side;
  for (const FarTerm& term : terms)
    if (term.left() == left) side.push_back(term);
  return side;
}

double LargestMagnitude(const std::vector<double>& x) {
  double largest = 0.0;
  for (const double value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

// The sum over functions of coefficient times function, [chunk].
std::vector<double> Expand(const std::vector<double>& functions,
                           const std::vector<double>& coefficients, int64_t chunk) {
  std::vector<double> sum(chunk, 0.0);
  for (size_t k = 0; k < coefficients.size(); ++k)
    for (int64_t j = 0; j < chunk; ++j) sum[j] += coefficients[k] * functions[k * chunk + j];
  return sum;
}

// In falling order.
std::vector<double> LeadingEigenvectors(const at::Tensor& gram, int rank) {
  const int64_t chunk = gram.size(0);
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(gram));  // ascending, in columns
  const at::Tensor leading = vectors.narrow(1, chunk - rank, rank).t().flip(0).contiguous();
  return {leading.const_data_ptr<double>(), leading.const_data_ptr<double>() + rank * chunk};
}

}  // namespace

ChunkBasis ChunkBasis::Leading(int count) const {
  return {count,
          {keys.begin(), keys.begin() + count * chunk},
          {queries.begin(), queries.begin() + count * chunk},
          chunk};
}

TermFactors::TermFactors(const FarTerm& term, int64_t chunk) {
  amplitude = std::exp(term.log_amplitude -
                       term.rate * static_cast<double>(term.nearest() * chunk - (chunk - 1)));
  for (int64_t p = 0; p < chunk; ++p) {
    const auto near = static_cast<double>(p), far = static_cast<double>(chunk - 1 - p);
    key.push_back(std::exp(-term.rate * (term.left() ? far : near)));
    query.push_back(std::exp(-term.rate * (term.left() ? near : far)));
  }
}

std::vector<double> Project(const std::vector<double>& functions, int rank,
                            const std::vector<double>& factors) {
  const size_t chunk = factors.size();
  std::vector<double> result(rank, 0.0);
  for (int k = 0; k < rank; ++k)
    for (size_t j = 0; j < chunk; ++j) result[k] += functions[k * chunk + j] * factors[j];
  return result;
}

ChunkBasis FindChunkBasis(const std::vector<FarTerm>& terms, int rank, int64_t chunk) {
  at::Tensor keys = at::zeros({chunk, chunk}, at::kDouble);
  at::Tensor queries = at::zeros({chunk, chunk}, at::kDouble);
  for (const bool left : {true, false}) {
    const std::vector<FarTerm> side = OfSide(terms, left);
    if (side.empty()) continue;
    // The nearest tiles are the hardest; the far ones, nearly constant, come along.
    for (const int64_t farther : {0, 1, 2, 4, 8, 16, 64}) {
      const std::vector<double> weights =
          TileWeights(side, side.front().nearest() + farther, chunk);
      at::Tensor tile = at::empty({chunk, chunk}, at::kDouble);  // [query][key]
      double* const cell = tile.mutable_data_ptr<double>();
      for (int64_t i = 0; i < chunk; ++i)
        for (int64_t j = 0; j < chunk; ++j)
          cell[i * chunk + j] = weights[TilePlace(left, i, j, chunk)];
      tile /= tile.mean();
      keys += tile.t().mm(tile);
      queries += tile.mm(tile.t());
    }
  }
  return {rank, LeadingEigenvectors(keys, rank), LeadingEigenvectors(queries, rank), chunk};
}

double ProjectionError(const ChunkBasis& basis, const std::vector<FarTerm>& terms, int64_t last) {
  const bool left = terms.front().left();
  const int64_t nearest = terms.front().nearest();
  const int rank = basis.rank;
  const int64_t chunk = basis.chunk;
  // Of each term: its coefficients, and what its own factors' error comes to at most.
  std::vector<std::vector<double>> in, out;
  std::vector<double> amplitude, error;
  for (const FarTerm& term : terms) {
    const TermFactors factors(term, chunk);
    in.push_back(Project(basis.keys, rank, factors.key));
    out.push_back(Project(basis.queries, rank, factors.query));
    amplitude.push_back(factors.amplitude);
    const std::vector<double> key = Expand(basis.keys, in.back(), chunk);
    const std::vector<double> query = Expand(basis.queries, out.back(), chunk);
    double key_error = 0.0, query_error = 0.0;
    for (int64_t p = 0; p < chunk; ++p) {
      key_error = std::max(key_error, std::abs(key[p] - factors.key[p]));
      query_error = std::max(query_error, std::abs(query[p] - factors.query[p]));
    }
    error.push_back(key_error * LargestMagnitude(query) + query_error);
  }

  double worst = 0.0;
  for (int64_t offset = nearest; offset <= last; ++offset) {
    std::vector<double> weight;  // of each term at this offset
    double bound = 0.0, smallest = 0.0;
    for (size_t r = 0; r < terms.size(); ++r) {
      weight.push_back(amplitude[r] *
                       std::exp(-terms[r].rate * static_cast<double>((offset - nearest) * chunk)));
      bound += weight[r] * error[r];
      smallest += weight[r] * std::exp(-terms[r].rate * static_cast<double>(2 * chunk - 2));
    }
    bound /= smallest;
    if (bound <= worst) continue;
    // Errors of several terms cancel: look at every pair of places.
    const std::vector<double> exact = TileWeights(terms, offset, chunk);
    double largest = 0.0;
    for (int64_t i = 0; i < chunk; ++i) {
      std::vector<double> coefficients(rank, 0.0);
      for (size_t r = 0; r < terms.size(); ++r) {
        double query = 0.0;
        for (int k = 0; k < rank; ++k) query += out[r][k] * basis.queries[k * chunk + i];
        for (int k = 0; k < rank; ++k) coefficients[k] += weight[r] * query * in[r][k];
      }
      const std::vector<double> row = Expand(basis.keys, coefficients, chunk);
      for (int64_t j = 0; j < chunk; ++j)
        largest = std::max(largest, std::abs(row[j] / exact[TilePlace(left, i, j, chunk)] - 1.0));
    }
    worst = std::max(worst, largest);
  }
  return worst;
}

}  // namespace longwave::attention
