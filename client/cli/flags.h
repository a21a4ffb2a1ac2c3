#ifndef LONGWAVE_CLIENT_CLI_FLAGS_H_
#define LONGWAVE_CLIENT_CLI_FLAGS_H_

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/client.h"
#include "client/types.h"

// Groups of flags that commands share. Each adds itself to a command and holds what was given,
// defaults otherwise.
namespace longwave::client {

// Which server, and how long to wait for it.
struct ConnectionFlags {
  // `timeout` is the command's default.
  explicit ConnectionFlags(absl::Duration default_timeout) : timeout(default_timeout) {}

  void AddTo(CLI::App& command);
  Client::Options ToOptions() const;

  std::string server = Client::Options().server;
  absl::Duration timeout;
  int64_t max_message_bytes = Client::Options().max_message_bytes;
  bool no_retry = false;
};

// What to send.
struct InputFlags {
  void AddTo(CLI::App& command);

  std::vector<std::string> paths;
  std::vector<std::string> texts;
  std::optional<Document::Kind> kind;  // none: what the model's tokenizer takes
  bool hidden = false;
};

// How inputs are cut into requests.
struct RequestFlags {
  void AddTo(CLI::App& command);

  int64_t batch = 16;
  int in_flight = 4;
};

// Which model, and how long an input may be.
struct ModelFlags {
  void AddTo(CLI::App& command);

  ModelId model;
  Truncation truncation;
};

// What every command that sends inputs takes.
struct SendingFlags {
  InputFlags inputs;
  ModelFlags model;
  RequestFlags requests;
  ConnectionFlags connection{Client::Options().timeout};
};

// Adds an option whose value is a duration such as "500ms", "30s", "2m" or "inf", greater than
// zero.
CLI::Option* AddDuration(CLI::App& command, const std::string& name, absl::Duration& value,
                         const std::string& description);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_FLAGS_H_
