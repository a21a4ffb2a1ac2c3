#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_TABLE_STRUCTURE_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_TABLE_STRUCTURE_H_

#include <cstdint>
#include <vector>

#include "model/attention/structured/chunk_basis.h"
#include "model/attention/structured/far_term.h"

// What a relative bias table of one head looks like in pieces that cost a constant per token.
//
// Tokens are cut into chunks of kChunk. The tile at chunk offset D = key chunk - query chunk holds
// the distances t = j - i from D * kChunk - (kChunk - 1) to D * kChunk + (kChunk - 1). A tile is
// either computed directly, or belongs to a term on which exp(b_t) = exp(log_amplitude - rate |t|):
// a constant (rate 0), one exponential (ALiBi), or several that add up (smooth tables). Those share
// the few states that they need between them.
namespace longwave::attention {

// Certificate: with non-negative features, weights off by a relative eps move the output by at most
// 2 eps / (1 - eps) max|v|. Weights below exp(b_0 - threshold), forbidden ones among them, may
// become anything up to e times that; they add at most n exp(1 - threshold + spread) max|v|, where
// spread is the largest log-ratio of two keys' features for one query.
struct TableStructure {
  double reference = 0.0;       // the largest finite b: exp(b - reference) is at most 1
  double center = 0.0;          // b_0
  double relative_error = 0.0;  // eps
  double threshold = 0.0;       // of drops_small, below b_0
  bool drops_small = false;     // whether the threshold was used
  int64_t max_tokens = kOpen;   // holds for sequences up to this length
  std::vector<int64_t> direct;  // offsets of direct tiles, ascending; offset 0 always
  std::vector<FarTerm> terms;
  ChunkBasis basis;  // of the smooth terms

  // Bound on the error of n tokens relative to max|v|, rounding not included. Infinity where a
  // threshold is used and `spread` is.
  double ErrorBound(int64_t n, double spread) const;

  // Direct tiles that a query chunk in the middle of n tokens computes.
  int64_t DirectTiles(int64_t n) const;

  // Whether a term with a rate ends; never without smooth terms being asked for.
  bool HasBoundedDecays() const;

  // States that a chunk of n tokens keeps: one for all constants, one for each exponential that
  // stands alone, and the basis of the smooth terms.
  int64_t States(int64_t n) const;

  // Multiplications and additions that the scan over the chunks of n tokens makes for each element
  // of a state.
  int64_t ScanWork(int64_t n) const;
};

struct StructureOptions {
  // Largest relative error of a weight that a term may replace; of a smooth far field's.
  double relative_error = 4e-6;
  double smooth_error = 4e-6;

  // Weights below exp(b_0 - threshold) may be replaced. Up to 64, float32 rounds b to 2e-6: ALiBi
  // stays within relative_error.
  double threshold = 63.0;

  // Most exponentials per side for a smooth far field, or one that ends at a constant; 0: none,
  // only exact structure.
  int max_exponentials = 0;

  // Most states of a chunk for a smooth far field.
  int max_rank = 8;
};

// Analyses the weights b[0 .. 2L-2] of distances -(L-1) to L-1; beyond, the edge value holds. -inf
// is legal except at t = 0. Always succeeds: a table without structure has every tile direct.
// Linear in L, but for exponentials.
TableStructure AnalyzeTable(const float* bias, int64_t length, const StructureOptions& options);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_TABLE_STRUCTURE_H_
