#ifndef LONGWAVE_MODEL_ATTENTION_FFT_SIZE_H_
#define LONGWAVE_MODEL_ATTENTION_FFT_SIZE_H_

#include <cstdint>

namespace longwave::attention {

// The smallest 2^a 3^b 5^c 7^d that is at least `minimum`: sizes that FFT libraries transform fast.
// minimum: 1 to 2^61.
int64_t GoodFftSize(int64_t minimum);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FFT_SIZE_H_
