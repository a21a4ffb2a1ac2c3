#ifndef LONGWAVE_CLIENT_HALF_H_
#define LONGWAVE_CLIENT_HALF_H_

#include <cstdint>

namespace longwave::client {

// The number that the 16 bits of an IEEE 754 binary16 stand for; exact, subnormals, infinities and
// NaN included.
float Float16ToFloat(uint16_t bits);

// The number whose binary32 has `bits` as its upper half and zeros below.
float Bfloat16ToFloat(uint16_t bits);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_HALF_H_
