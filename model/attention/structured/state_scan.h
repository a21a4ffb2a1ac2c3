#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_STATE_SCAN_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_STATE_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace longwave::attention {

// One sweep over the chunks of a sequence, for decays that lie on one side of the query and reach
// equally far: what they carry from key chunks to query chunks.
//
// Every chunk has several states, of which a scan reads and writes `states` from `first_state` on.
// For the query chunk b it adds to state l
//   sum over rates r and offsets D in [begin, end) of
//     out[l][r] exp(-decay[r] (D - begin)) sum over k of in[r][k] state k of the chunk b + D
// (b - D, on the left). The factors are float32, the running sums float64.
struct Scan {
  bool left = false;
  int64_t begin = 1;  // chunks from the query, at least 1
  int64_t end = 0;    // kOpen: to the end of the sequence
  int first_state = 0;
  int states = 0;
  std::vector<double> decay;  // [rates], per chunk, >= 0
  std::vector<float> in;      // [rates][states]
  std::vector<float> out;     // [states][rates]

  int rates() const { return static_cast<int>(decay.size()); }
};

// Floats that lie together in every pass below.
inline constexpr int kScanPiece = 64;

// Replaces the states of the keys of all chunks by what `scans` sum up for the queries, for the
// elements [begin, end) of each state; ranges can run in parallel.
//
// all: [chunks][states][size], 64-byte aligned; size, begin and end are multiples of 16. Bounded
// sums are built from the states inside their window, never by subtraction.
void ScanStates(const std::vector<Scan>& scans, int states, int64_t chunks, std::size_t size,
                std::size_t begin, std::size_t end, float* all);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_STATE_SCAN_H_
