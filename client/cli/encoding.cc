#include "client/cli/encoding.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "client/cli/progress.h"

namespace longwave::client {

Answers<EncodeReply> EncodeAll(Session& session, const EncodeOptions& options, Console& console) {
  Progress progress(console.err_is_terminal ? &console.err : nullptr,
                    static_cast<int64_t>(session.sources.size()));
  return SendAll<EncodeReply>(
      session.sources, session.options, console.in, progress,
      [&](const std::vector<Document>& documents, Client::EncodeCallback done) {
        session.client->EncodeAsync(documents, options, std::move(done));
      });
}

Neighbours Nearest(const Answers<EncodeReply>& answers) {
  std::vector<absl::Span<const float>> vectors;
  vectors.reserve(answers.outcomes.size());
  for (const auto& outcome : answers.outcomes) {
    vectors.push_back(outcome.result.status.ok() ? absl::MakeConstSpan(outcome.result.values)
                                                 : absl::Span<const float>());
  }
  return NearestNeighbours(vectors);
}

void AddNeighbourColumns(std::vector<Table::Column>& columns) {
  columns.push_back({"NEAREST", Table::Column::Align::kLeft, /*shrinks=*/true});
  columns.push_back({"COSINE", Table::Column::Align::kRight});
}

void AddNeighbourCells(const std::optional<Neighbour>& neighbour,
                       const std::vector<InputSource>& sources, std::vector<std::string>& row) {
  row.push_back(neighbour ? sources[neighbour->index].name : "-");
  row.push_back(neighbour ? absl::StrFormat("%.3f", neighbour->cosine) : "-");
}

void AddNeighbour(const std::optional<Neighbour>& neighbour,
                  const std::vector<InputSource>& sources, Json& result) {
  if (neighbour) result["nearest"] = ToJson(*neighbour, sources[neighbour->index].name);
}

}  // namespace longwave::client
