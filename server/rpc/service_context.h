#ifndef LONGWAVE_SERVER_RPC_SERVICE_CONTEXT_H_
#define LONGWAVE_SERVER_RPC_SERVICE_CONTEXT_H_

#include <cstdint>

#include "server/batching/clock.h"
#include "server/cache/result_cache.h"
#include "server/metrics/metrics.h"
#include "server/rpc/client_weights.h"
#include "server/rpc/model_catalog.h"
#include "server/rpc/request_gate.h"

namespace longwave {

// What a request may ask for at most.
struct RequestLimits {
  // Inputs of one request.
  int64_t max_inputs = 2048;

  // Tokens of one input. 0: what the model takes; never more than that.
  int64_t max_input_tokens = 0;

  // Bytes of one unary response, and of the results of one stream that are being computed or wait
  // to be sent.
  int64_t max_response_bytes = 64 << 20;
};

// What all RPC handlers share. Everything pointed to is owned by the server, is thread-safe, and
// outlives the services and the batchers.
struct ServiceContext {
  const ModelCatalog* catalog = nullptr;
  Metrics* metrics = nullptr;
  RequestGate* gate = nullptr;
  ResultCache* cache = nullptr;  // nullptr: every result is computed
  const Clock* clock = nullptr;
  RequestLimits limits;
  const ClientWeights* weights = nullptr;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_SERVICE_CONTEXT_H_
