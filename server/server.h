#ifndef LONGWAVE_SERVER_SERVER_H_
#define LONGWAVE_SERVER_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/batching/batcher.h"
#include "server/batching/clock.h"
#include "server/repository/model_repository.h"
#include "server/rpc/model_catalog.h"
#include "server/rpc/service_context.h"

namespace prometheus {
class Registry;
}  // namespace prometheus

namespace longwave {

// A whole server: models, batchers, metrics, gRPC. Owns everything; main() only parses flags and
// waits for a signal.
//
// Thread-compatible; its RPCs run on gRPC's threads, its batches on the threads of a batcher per
// model version, scrapes on threads of their own.
class Server {
 public:
  struct Options {
    // Folder of <name>/<version>/config.json. Required.
    std::string model_repository;

    // Devices that every model is loaded onto; one queue per model version feeds them all. At least
    // one; all of one kind, or answers differ.
    std::vector<std::string> devices = {"cpu"};

    // Batches of one model version that each device computes at once, 1 to 256.
    int workers_per_device = 1;

    // Where gRPC listens, "host:port". Port 0 picks a free one.
    std::string listen = "0.0.0.0:8470";

    // Where Prometheus scrapes, "host:port". Port 0 picks a free one; empty: nowhere.
    std::string metrics_listen = "0.0.0.0:9470";

    // Largest request message in bytes, 1 to 2^31 - 1.
    int64_t max_message_bytes = 64 << 20;

    // Bytes of all request messages being served; beyond, requests are RESOURCE_EXHAUSTED. At
    // least max_message_bytes.
    int64_t max_in_flight_bytes = int64_t{1} << 30;

    // Bytes of each device that the batches of all models may take together; 0: most of what is
    // free once the models are loaded.
    int64_t memory_budget = 0;

    // Of one request.
    RequestLimits limits;

    // Of clients that share the device.
    ClientWeights weights;

    // Bytes of results that are kept to answer equal inputs; 0: none are.
    int64_t result_cache_bytes = 0;

    // How long the warm-up of each model version may take beyond its first, short pass. Not
    // negative.
    absl::Duration warm_up_time = absl::Seconds(5);

    // Of each model version.
    Batcher::Options batching;

    // INVALID_ARGUMENT naming the option, what was found and what was expected.
    absl::Status Validate() const;
  };

  // Loads every model of the repository onto each device, one after another, then warms up model
  // after model, each on all devices at once; listens nowhere yet. Blocks. `clock` is not owned and
  // must outlive the server. Errors are those of the options, the repository, the loader and the
  // warm-up.
  static absl::StatusOr<std::unique_ptr<Server>> Create(const Options& options,
                                                        const ModelLoader& loader,
                                                        const Clock* clock);

  // Shuts down at once if that has not been done.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Listens and serves; health is SERVING when this returns. Once. UNAVAILABLE, naming the address,
  // when one cannot be bound.
  absl::Status Start();

  // Ends the service: health NOT_SERVING, no new requests, then waits up to `drain` for those
  // inside, then closes the connections. OK when every request was answered; else
  // DEADLINE_EXCEEDED, saying how many were dropped. Only the first call does something. The port
  // of the metrics stays open until destruction.
  absl::Status Shutdown(absl::Duration drain);

  // The bound ports; 0 before Start(), or when there are no metrics to scrape.
  int grpc_port() const;
  int metrics_port() const;

  // What Prometheus would scrape.
  std::shared_ptr<prometheus::Registry> metrics_registry() const;

  // What is served, ordered by name, then version.
  absl::Span<const ServedModel> models() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SERVER_H_
