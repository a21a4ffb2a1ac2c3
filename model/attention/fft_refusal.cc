#include "model/attention/fft_refusal.h"

#include <c10/util/Exception.h>

#include <cstdlib>

namespace longwave::attention {
namespace {

constexpr double kMostRepairs = 0.25;

}  // namespace

bool TooManyFftRepairs(int64_t rows, int64_t length) {
  return static_cast<double>(rows) > kMostRepairs * static_cast<double>(length);
}

void RefuseFft(int64_t rows, int64_t length, int64_t head, int64_t first_row, double error,
               double allowed) {
  TORCH_CHECK_VALUE(false, "algorithm: \"fft\" would miss the promised accuracy in ", rows, " of ",
                    length, " rows of head ", head, " (row ", first_row, " expects an error of ",
                    static_cast<float>(error), " of max|v|, ", allowed,
                    " is allowed): their denominators are small beside the transform's rounding "
                    "errors. Expected algorithm \"auto\" or \"direct\" for this table");
  std::abort();  // not reached
}

}  // namespace longwave::attention
