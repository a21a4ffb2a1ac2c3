#ifndef LONGWAVE_MODEL_RUNTIME_LAYER_PLANS_H_
#define LONGWAVE_MODEL_RUNTIME_LAYER_PLANS_H_

#include <string>
#include <vector>

#include "model/runtime/model.h"

namespace longwave {

// Adds the plan of one layer, JSON as the operator longwave::plan_attention returns it, to the
// plans of the layers before: groups that name the same algorithm, heads and lengths become one.
// Throws nlohmann::json::exception when `json` is not such a plan.
void AddLayerPlans(const std::string& json, int layer, std::vector<AttentionPlan>& plans);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_LAYER_PLANS_H_
