#ifndef LONGWAVE_CLIENT_CLI_INPUTS_H_
#define LONGWAVE_CLIENT_CLI_INPUTS_H_

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/types.h"

namespace longwave::client {

// Something to send: a file, standard input or a literal text.
struct InputSource {
  enum class Kind { kFile, kStandardInput, kBuffered, kLiteral };

  Kind kind = Kind::kFile;
  std::string name;  // what people call it: the path, "(stdin)", or the beginning of the text
  std::string text;  // kBuffered, kLiteral: the content
  absl::Status failure = absl::OkStatus();  // kBuffered: why there is no content
};

// The inputs that the arguments name, in their order: files, "-" for standard input, folders with
// all regular files below them sorted by path, then the texts. Files and folders below a folder
// whose names begin with a dot are left out unless `hidden`; symbolic links below a folder are not
// followed. A path that does not exist stays an input, so that it fails alone when it is read.
// INVALID_ARGUMENT when standard input is named twice. Blocks.
absl::StatusOr<std::vector<InputSource>> ExpandInputs(const std::vector<std::string>& paths,
                                                      const std::vector<std::string>& texts,
                                                      bool hidden);

// The content of an input, standard input being `in`. OUT_OF_RANGE when it is over `max_bytes`,
// which is all that is ever read of it; other errors are those of the system. Blocks.
absl::StatusOr<std::string> ReadInput(const InputSource& source, int64_t max_bytes,
                                      std::istream& in);

// Reads standard input, if it is among the sources, now: it becomes kBuffered and can be read
// repeatedly. Blocks.
void BufferStandardInput(std::vector<InputSource>& sources, int64_t max_bytes, std::istream& in);

// The content as a document. kTokenIds: decimal ids between blanks, line ends or commas;
// INVALID_ARGUMENT names the first that is not.
absl::StatusOr<Document> ToDocument(std::string content, Document::Kind kind);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_INPUTS_H_
