#ifndef LONGWAVE_SERVER_METRICS_EXPOSER_H_
#define LONGWAVE_SERVER_METRICS_EXPOSER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace prometheus {
class Exposer;
class Registry;
}  // namespace prometheus

namespace longwave {

// Serves a registry over HTTP at /metrics, in the Prometheus text format, on a port and threads of
// its own. Thread-safe.
class MetricsExposer {
 public:
  // Starts to listen on `address`, "host:port"; port 0 picks a free one. UNAVAILABLE, naming the
  // address, when it cannot be bound (in use, not ours).
  static absl::StatusOr<std::unique_ptr<MetricsExposer>> Create(
      const std::string& address, const std::shared_ptr<prometheus::Registry>& registry);

  // Stops listening; blocks until running scrapes end.
  ~MetricsExposer();

  // The bound port.
  int port() const { return port_; }

 private:
  MetricsExposer(std::unique_ptr<prometheus::Exposer> exposer, int port);

  const std::unique_ptr<prometheus::Exposer> exposer_;
  const int port_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_METRICS_EXPOSER_H_
