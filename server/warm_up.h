#ifndef LONGWAVE_SERVER_WARM_UP_H_
#define LONGWAVE_SERVER_WARM_UP_H_

#include "absl/status/status.h"
#include "model/runtime/model.h"

namespace longwave {

// Runs one short sequence through everything that `model` serves, so that the first request does
// not pay for what is set up on first use, and a model that cannot run is found before anybody is
// served. Returns the first error. Blocks.
absl::Status WarmUp(Model& model);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_WARM_UP_H_
