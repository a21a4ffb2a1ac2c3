#ifndef LONGWAVE_SERVER_BANNER_H_
#define LONGWAVE_SERVER_BANNER_H_

#include <string>

#include "server/server.h"

namespace longwave {

// What a person wants to see when `server` has started: a table of its models, and where it
// listens. Several lines.
std::string Banner(const Server& server, const Server::Options& options);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BANNER_H_
