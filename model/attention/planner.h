#ifndef LONGWAVE_MODEL_ATTENTION_PLANNER_H_
#define LONGWAVE_MODEL_ATTENTION_PLANNER_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/attention/algorithm.h"

namespace longwave::attention {

// The algorithms of a kind of device that `auto` and plan_attention choose among, and the float64
// "reference". Empty where no library has registered any.
std::span<const Algorithm* const> Algorithms(at::DeviceType device);

// Called once by a library that has kernels for a device, while it is loaded. Algorithms live for
// ever.
void RegisterAlgorithms(at::DeviceType device, std::vector<const Algorithm*> algorithms);

// The algorithm of a name other than "auto". Throws c10::Error when there is none.
const Algorithm& FindAlgorithm(at::DeviceType device, std::string_view name);

// Heads and lengths that are computed in one way.
struct PlanGroup {
  std::vector<int64_t> heads;    // ascending
  std::vector<int64_t> lengths;  // in the caller's order; empty sequences are in no group
  const Algorithm* algorithm = nullptr;
  std::string reason;
  double error_bound = 0;   // of the output as a share of max|v|
  double predicted_ms = 0;  // all heads and lengths, and the calls that they are split over
};

struct Choice {
  const Algorithm* algorithm = nullptr;
  Estimate estimate;
  bool fastest = true;  // of those that serve the head; else it shares the call of other heads
};

// The fastest algorithm by prediction that keeps the tolerance and takes at most workspace_bytes
// (0: no limit). Throws c10::Error where each takes more. reason, when not null, receives why, for
// people.
Choice Choose(const Shape& shape, int64_t workspace_bytes, std::string* reason = nullptr);

// The same for every head of a call, shape.head aside. Neighbouring heads of one algorithm are one
// call, so heads may take a slower algorithm that others take, where that saves calls. reasons,
// when not null, receives one for each head.
std::vector<Choice> ChooseHeads(Shape shape, int64_t heads, int64_t workspace_bytes,
                                std::vector<std::string>* reasons = nullptr);

// A plan for sequences of these lengths: heads and lengths that take one algorithm are a group.
// base: the shape but for `length`, `head` and `transform_size`.
std::vector<PlanGroup> Plan(Shape base, int64_t heads, std::span<const int64_t> lengths,
                            int64_t workspace_bytes);

// What "auto" does with float64 inputs.
std::vector<PlanGroup> PlanReference(Shape base, int64_t heads, std::span<const int64_t> lengths);

// {"groups": [{"heads": [...], "lengths": [...], "algorithm": ..., "reason": ..., "error_bound":
// ..., "predicted_ms": ...}]}
std::string ToJson(const std::vector<PlanGroup>& plan);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_PLANNER_H_
