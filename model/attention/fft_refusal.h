#ifndef LONGWAVE_MODEL_ATTENTION_FFT_REFUSAL_H_
#define LONGWAVE_MODEL_ATTENTION_FFT_REFUSAL_H_

#include <cstdint>

// When rows of "fft" are in doubt, and when it refuses where it is forced, on every device.
namespace longwave::attention {

// How far the largest error of thousands of rows and channels may lie above its estimate: 1.1 times
// was measured in grids (1.5 on a GPU), a fifth in rows of tokens, where what peaks is not
// transformed.
inline constexpr double kLargestOfMany = 2;

// If a larger share of a head's rows has to be computed directly, doing so for all is no slower,
// and it is no longer what was asked for.
bool TooManyFftRepairs(int64_t rows, int64_t length);

// Throws c10::Error. rows: of `length`, in doubt; first_row: one of them, which expects `error`, as
// a share of max|v|, where `allowed` is the most.
[[noreturn]] void RefuseFft(int64_t rows, int64_t length, int64_t head, int64_t first_row,
                            double error, double allowed);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FFT_REFUSAL_H_
