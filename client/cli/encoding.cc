#include "client/cli/encoding.h"

#include <utility>

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

std::vector<std::optional<Neighbour>> Nearest(const Answers<EncodeReply>& answers) {
  std::vector<absl::Span<const float>> vectors;
  vectors.reserve(answers.outcomes.size());
  for (const auto& outcome : answers.outcomes) {
    vectors.push_back(outcome.result.status.ok() ? absl::MakeConstSpan(outcome.result.values)
                                                 : absl::Span<const float>());
  }
  return NearestNeighbours(vectors);
}

}  // namespace longwave::client
