#ifndef LONGWAVE_CLIENT_CLI_ENCODING_H_
#define LONGWAVE_CLIENT_CLI_ENCODING_H_

#include <optional>
#include <vector>

#include "client/cli/console.h"
#include "client/cli/nearest.h"
#include "client/cli/sender.h"
#include "client/cli/session.h"
#include "client/types.h"

namespace longwave::client {

// Sends the session's inputs with Encode, with a progress bar on a terminal. Blocks.
Answers<EncodeReply> EncodeAll(Session& session, const EncodeOptions& options, Console& console);

// The nearest other input by the cosine of pooled embeddings; none for an input that failed.
std::vector<std::optional<Neighbour>> Nearest(const Answers<EncodeReply>& answers);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_ENCODING_H_
