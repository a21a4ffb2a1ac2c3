#ifndef LONGWAVE_SERVER_RPC_HALF_PRECISION_H_
#define LONGWAVE_SERVER_RPC_HALF_PRECISION_H_

#include <cstdint>

namespace longwave {

// The bits of `value` as IEEE 754 binary16, rounded to nearest, ties to even. Values of at least
// 65520 become infinite; subnormals are kept; a NaN stays a (quiet) NaN of the same sign.
uint16_t ToFloat16Bits(float value);

// The bits of `value` as bfloat16, the upper half of binary32, rounded to nearest, ties to even. A
// NaN stays a (quiet) NaN.
uint16_t ToBfloat16Bits(float value);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_HALF_PRECISION_H_
