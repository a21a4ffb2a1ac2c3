#ifndef LONGWAVE_CLIENT_CLI_ENCODING_H_
#define LONGWAVE_CLIENT_CLI_ENCODING_H_

#include <optional>
#include <string>
#include <vector>

#include "client/cli/console.h"
#include "client/cli/inputs.h"
#include "client/cli/json.h"
#include "client/cli/nearest.h"
#include "client/cli/sender.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/types.h"

namespace longwave::client {

// Sends the session's inputs with Encode, with a progress bar on a terminal. Blocks.
Answers<EncodeReply> EncodeAll(Session& session, const EncodeOptions& options, Console& console);

// The nearest other input by the cosine of pooled embeddings; none for an input that failed.
Neighbours Nearest(const Answers<EncodeReply>& answers);

// The columns NEAREST and COSINE of a table, and an input's cells there: "-" without a neighbour.
void AddNeighbourColumns(std::vector<Table::Column>& columns);
void AddNeighbourCells(const std::optional<Neighbour>& neighbour,
                       const std::vector<InputSource>& sources, std::vector<std::string>& row);

// The same as "nearest" of an input's JSON; nothing without a neighbour.
void AddNeighbour(const std::optional<Neighbour>& neighbour,
                  const std::vector<InputSource>& sources, Json& result);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_ENCODING_H_
