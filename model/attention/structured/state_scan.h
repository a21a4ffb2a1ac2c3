#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_STATE_SCAN_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_STATE_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/attention/structured/table_structure.h"

// Sums of chunk states over the chunks that a far term covers, for every query chunk. chunk_states
// and states are [chunks][size] and may not overlap; only the elements [begin, end) of each state
// are touched, so ranges can run in parallel. Sums run in float64, and none is ever made by
// subtraction: a window is built from the states inside it.
namespace longwave::attention {

// states[b] = sum over terms of amplitude * sum of chunk_states[b + offset], offsets in
// [term.begin, term.end). Rates must be 0.
void ScanConstants(const float* chunk_states, float* states, int64_t chunks, std::size_t size,
                   const std::vector<FarTerm>& terms, std::size_t begin, std::size_t end);

// states[b] = sum over offsets of exp(log_amplitude - rate (|offset| kChunk - (kChunk - 1)))
// chunk_states[b + offset]. The term must be open.
void ScanExponential(const float* chunk_states, float* states, int64_t chunks, std::size_t size,
                     const FarTerm& term, std::size_t begin, std::size_t end);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_STATE_SCAN_H_
