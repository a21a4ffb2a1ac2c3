#ifndef LONGWAVE_TESTS_SERVER_HTTP_GET_H_
#define LONGWAVE_TESTS_SERVER_HTTP_GET_H_

#include <string>

namespace longwave {

// The body of http://127.0.0.1:<port><path>, or an empty string when there is no answer with status
// 200.
std::string HttpGet(int port, const std::string& path);

// The value of one series of a scrape, which must match to the letter, such as
// `longwave_queue_tokens{model="m"}`; -1 when it is missing.
double SeriesValue(const std::string& scrape, const std::string& series);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_HTTP_GET_H_
