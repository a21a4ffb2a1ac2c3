#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_SOLVE_HEADS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_SOLVE_HEADS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "model/attention/algorithm.h"
#include "model/attention/structured/chunked_attention.h"

namespace longwave::attention {

// Computes one sequence of the head of that number. Returns false where a denominator leaves
// float32's range.
using SolveHead = std::function<bool(const HeadProblem& problem, int64_t head)>;

// Calls `solve` for every head of every sequence of a part, on the threads of at::parallel_for,
// with its tensors in float32. Where it fails: computes the head by "direct", or throws c10::Error
// in the name of `algorithm`, as on_doubt says.
void SolveHeads(const Part& part, OnDoubt on_doubt, std::string_view algorithm,
                const SolveHead& solve);

// Why heads of this shape are not for `solve`: head sizes, features; see Algorithm::WhyNot.
std::optional<std::string> WhyNotByHead(const Shape& shape);

// Rounding of features, tiles and states in float32, as a share of max|v|.
double RoundingByHead(const Shape& shape);

// Padded sizes of a shape.
ChunkShape PaddedShape(const Shape& shape);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_SOLVE_HEADS_H_
