#ifndef LONGWAVE_MODEL_ATTENTION_TABLE_EXTENT_H_
#define LONGWAVE_MODEL_ATTENTION_TABLE_EXTENT_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "model/attention/position_bias.h"

namespace longwave::attention {

// How much work the weights of one head leave to "direct", which skips tiles of zeros, and to
// "fft", which transforms only what its split of the table leaves (fft_split.h). Made once for a
// table; then an answer takes a few microseconds at most. Immutable, thread-safe.
class TableExtent {
 public:
  // table: the 2 edge + 1 values of one head, not kept. causal: distances t > 0 are forbidden.
  TableExtent(const float* table, int64_t edge, bool causal);

  // What SplitTable() would find for this reach.
  FarParts PartsOf(int64_t reach) const;

  // The share, from 0 to 1, of the tiles of DirectTile in a sequence of `length` >= 1 tokens that
  // hold a weight which float32 tells from 0 beside those of the middle row.
  double ShareOfTiles(int64_t length) const;

 private:
  // The weights on one side beyond the near band, added outwards.
  struct Side {
    double floor = std::numeric_limits<double>::infinity();     // b of the least
    double largest = -std::numeric_limits<double>::infinity();  // b of the largest
    double sum = 0;                                             // of all, in units of the largest
    int64_t count = 0;
    int64_t at_floor = 0;  // of those that are the least
    int64_t nonzero = 0;

    // `times` weights exp(b), beside others of up to exp(top).
    void Add(double b, int64_t times, double top);
    bool HasFloor() const;
    int64_t Remaining() const { return HasFloor() ? count - at_floor : nonzero; }
  };

  static FarParts PartsOf(const Side& left, const Side& right);
  // The largest b of distances [kBlock * block, kBlock * (block + 1)).
  double BlockMax(int64_t block) const;

  std::vector<double> block_max_;  // of blocks -blocks to blocks - 1
  double left_edge_, right_edge_;  // b beyond the table
  int64_t edge_;
  double top_ = 0;     // the largest b
  Side left_, right_;  // of the whole table
  // By reach, up to the table's.
  std::vector<bool> floors_, transformed_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_TABLE_EXTENT_H_
