#include <cmath>
#include <limits>

#include "model/attention/cuda/structured/hopper.cuh"

namespace longwave::attention::cuda {

int PartsOf(int heads, int slots, int multiprocessors, double start) {
  int best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int parts = 1; parts <= slots && parts <= 4 * multiprocessors; ++parts) {
    const int waves = (heads * parts + multiprocessors - 1) / multiprocessors;
    const double time = waves * (start + (slots + parts - 1) / parts);
    if (time >= least) continue;
    least = time;
    best = parts;
  }
  return best;
}

}  // namespace longwave::attention::cuda
