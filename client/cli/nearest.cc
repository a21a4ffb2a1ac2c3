#include "client/cli/nearest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longwave::client {
namespace {

double Dot(absl::Span<const float> a, absl::Span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void Offer(std::optional<Neighbour>& best, size_t index, double cosine) {
  if (!best.has_value() || cosine > best->cosine) best = Neighbour{index, cosine};
}

}  // namespace

Neighbours NearestNeighbours(const std::vector<absl::Span<const float>>& vectors) {
  std::vector<double> norms;
  norms.reserve(vectors.size());
  for (const auto& vector : vectors) norms.push_back(std::sqrt(Dot(vector, vector)));

  Neighbours nearest(vectors.size());
  for (size_t i = 0; i < vectors.size(); ++i) {
    if (norms[i] == 0) continue;
    for (size_t j = 0; j < i; ++j) {
      if (norms[j] == 0) continue;
      const double cosine =
          std::clamp(Dot(vectors[i], vectors[j]) / (norms[i] * norms[j]), -1.0, 1.0);
      Offer(nearest[i], j, cosine);
      Offer(nearest[j], i, cosine);
    }
  }
  return nearest;
}

}  // namespace longwave::client
