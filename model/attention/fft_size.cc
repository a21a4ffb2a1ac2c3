#include "model/attention/fft_size.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>

namespace longwave::attention {

int64_t GoodFftSize(int64_t minimum) {
  TORCH_CHECK(minimum >= 1 && minimum <= int64_t{1} << 61, "minimum: found ", minimum,
              ", expected 1 to 2^61");
  // For every 3^b 5^c 7^d below the best so far, the least power of two that brings it to the
  // minimum.
  int64_t best = std::numeric_limits<int64_t>::max();
  for (int64_t sevens = 1; sevens < best; sevens *= 7) {
    for (int64_t fives = sevens; fives < best; fives *= 5) {
      for (int64_t threes = fives; threes < best; threes *= 3) {
        int64_t size = threes;
        while (size < minimum) size *= 2;
        best = std::min(best, size);
        if (threes >= minimum) break;
      }
      if (fives >= minimum) break;
    }
    if (sevens >= minimum) break;
  }
  return best;
}

}  // namespace longwave::attention
