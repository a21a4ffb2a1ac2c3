#include "client/cli/flags.h"

#include <CLI/Validators.hpp>
#include <limits>
#include <map>

namespace longwave::client {

CLI::Option* AddDuration(CLI::App& command, const std::string& name, absl::Duration& value,
                         const std::string& description) {
  const auto parse = [&value, name](const std::string& text) {
    absl::Duration parsed;
    if (!absl::ParseDuration(text, &parsed) || parsed <= absl::ZeroDuration()) {
      throw CLI::ValidationError(name, "'" + text + "' is not a duration like 30s, 500ms, 2m, inf");
    }
    value = parsed;
  };
  return command.add_option_function<std::string>(name, parse, description)
      ->type_name("DURATION")
      ->default_str(absl::FormatDuration(value));
}

void ConnectionFlags::AddTo(CLI::App& command) {
  command.add_option("--server", server, "Address of the server, host:port")
      ->type_name("ADDRESS")
      ->envname("LONGWAVE_SERVER")
      ->capture_default_str()
      ->group("Server");
  AddDuration(command, "--timeout", timeout, "Longest wait for one request, retries included")
      ->group("Server");
  command
      .add_option("--max_message_bytes", max_message_bytes,
                  "Largest request and response; the server has such a limit too")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::Range(int64_t{64} << 10, int64_t{std::numeric_limits<int>::max()}))
      ->type_name("BYTES")
      ->default_str("64MiB")
      ->group("Server");
  command
      .add_flag("--no_retry", no_retry,
                "Send each request once, also to a server that is starting or asks to wait")
      ->group("Server");
}

Client::Options ConnectionFlags::ToOptions() const {
  Client::Options options{
      .server = server, .timeout = timeout, .max_message_bytes = max_message_bytes};
  if (no_retry) options.max_attempts = options.max_busy_attempts = 1;
  return options;
}

void InputFlags::AddTo(CLI::App& command) {
  command
      .add_option("inputs", paths,
                  "Files, folders (all regular files below them), or - for standard input")
      ->type_name("FILE");
  command.add_option("--text", texts, "A text instead of a file; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group("Input");
  const std::map<std::string, Document::Kind> kinds = {{"text", Document::Kind::kText},
                                                       {"bytes", Document::Kind::kBytes},
                                                       {"ids", Document::Kind::kTokenIds}};
  command
      .add_option_function<std::string>(
          "--as", [this, kinds](const std::string& name) { kind = kinds.at(name); },
          "How inputs are sent: text (UTF-8), bytes, or ids (decimal token ids between blanks or "
          "commas). Default: what the model's tokenizer takes; --text is text")
      ->check(CLI::IsMember(kinds))
      ->type_name("KIND")
      ->group("Input");
  command.add_flag("--hidden", hidden, "Include hidden files and folders below folders")
      ->group("Input");
}

void RequestFlags::AddTo(CLI::App& command) {
  command.add_option("--batch", batch, "Inputs per request")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str()
      ->group("Server");
  command.add_option("--in_flight", in_flight, "Requests under way at once")
      ->check(CLI::Range(1, 1024))
      ->type_name("N")
      ->capture_default_str()
      ->group("Server");
}

void ModelFlags::AddTo(CLI::App& command) {
  command.add_option("--model", model.name, "Name of the model. Default: the server's only one")
      ->type_name("NAME")
      ->group("Model");
  command.add_option("--model_version", model.version, "Version of the model. Default: the newest")
      ->check(CLI::Range(int64_t{1}, std::numeric_limits<int64_t>::max()))
      ->type_name("N")
      ->group("Model");
  command
      .add_flag("--truncate", truncation.truncate,
                "Cut inputs that are too long for the model instead of failing them")
      ->group("Model");
  command
      .add_option("--max_tokens", truncation.max_tokens,
                  "Longest input in tokens. Default: the longest that the model takes")
      ->check(CLI::Range(int64_t{1}, std::numeric_limits<int64_t>::max()))
      ->type_name("N")
      ->group("Model");
}

}  // namespace longwave::client
