// Threads that share one prepared table, as a server's workers do: whatever is made of it on first
// use is made while others ask for the same, for another length or for another algorithm.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <barrier>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/attention/operators.h"

namespace longwave::attention {
namespace {

constexpr int kThreads = 4;
constexpr int64_t kHeads = 2, kDim = 16, kLength = 1500;
constexpr int64_t kGrid = 24;

struct Request {
  std::string algorithm;
  at::Tensor q, k, v;
};

std::vector<Request> MakeRequests(const std::vector<std::string>& algorithms,
                                  const std::vector<int64_t>& lengths) {
  std::vector<Request> requests;
  for (const int64_t tokens : lengths) {
    const auto draw = [&] { return at::randn({1, tokens, kHeads, kDim}); };
    for (const std::string& algorithm : algorithms) {
      requests.push_back({algorithm, draw(), draw(), draw()});
    }
  }
  return requests;
}

AttentionOptions Options(const Request& request) {
  AttentionOptions options;
  options.algorithm = request.algorithm;
  return options;
}

// Answers a request by a prepared table.
using Attend = std::function<at::Tensor(const Request&)>;

// Expects of `prepare`, which prepares a table and returns what answers by it, that threads which
// begin to use one table at the same moment find what each request finds with a table of its own.
void ExpectTheSame(const std::vector<Request>& requests, const std::function<Attend()>& prepare) {
  std::vector<at::Tensor> expected;
  for (const Request& request : requests) expected.push_back(prepare()(request));
  const Attend attend = prepare();
  std::vector<std::vector<at::Tensor>> found(kThreads);
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::vector<at::Tensor> answers(requests.size());
      start.arrive_and_wait();
      // Two threads begin with the same request, the others with another one.
      for (size_t i = 0; i < requests.size(); ++i) {
        const size_t r = (i + requests.size() / 2 * (thread / 2)) % requests.size();
        answers[r] = attend(requests[r]);
      }
      found[thread] = std::move(answers);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t r = 0; r < requests.size(); ++r) {
    for (const std::vector<at::Tensor>& answers : found) {
      EXPECT_TRUE(answers[r].equal(expected[r]))
          << requests[r].algorithm << ", " << expected[r].size(1) << " tokens";
    }
  }
}

at::Tensor Distances() { return at::arange(1 - kLength, kLength, at::kFloat); }

at::Tensor Clipped() {
  const at::Tensor t = Distances().clamp(-40, 40).to(at::kLong) + 40;
  return at::randn({kHeads, 81}).index_select(1, t);
}

at::Tensor Inverse() { return -at::log1p(Distances().abs()).expand({kHeads, -1}).contiguous(); }

at::Tensor Noise() { return at::randn({kHeads, 2 * kLength - 1}); }

struct TableClass {
  const char* name;
  at::Tensor (*make)();
  std::vector<std::string> algorithms;  // that serve it
};

// Each problem is computed by one thread, so that nothing but the table is shared.
class SharedGridTest : public ::testing::Test {
 protected:
  SharedGridTest() { at::set_num_threads(1); }
  ~SharedGridTest() override { at::set_num_threads(threads_); }

 private:
  const int threads_ = at::get_num_threads();
};

class SharedTableTest : public SharedGridTest, public ::testing::WithParamInterface<TableClass> {};

TEST_P(SharedTableTest, AnswersAsATableOfOnesOwn) {
  const at::Tensor table = GetParam().make(), w = at::randn({kDim, kDim});
  ExpectTheSame(MakeRequests(GetParam().algorithms, {1300, 1100, 1500, 1250}), [&]() -> Attend {
    const auto bias = c10::make_intrusive<RelativeBias>(table);
    return [&w, bias](const Request& request) {
      return RpeAttention(request.q, request.k, request.v, w, bias, std::nullopt, std::nullopt,
                          Options(request));
    };
  });
}

INSTANTIATE_TEST_SUITE_P(
    Sequences, SharedTableTest,
    ::testing::Values(TableClass{"clipped", Clipped, {"structured", "auto", "fft"}},
                      TableClass{"inverse", Inverse, {"low_rank", "auto", "fft"}},
                      TableClass{"noise", Noise, {"fft", "direct", "auto"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(SharedGridTest, AnswersAsATableOfOnesOwn) {
  const at::Tensor table = at::randn({kHeads, 9, 9}), w = at::randn({kDim, kDim});
  ExpectTheSame(
      MakeRequests({"structured", "fft", "direct", "auto"}, {kGrid * kGrid}), [&]() -> Attend {
        const auto bias =
            c10::make_intrusive<RelativeBias2d>(table, std::vector<int64_t>{kGrid, kGrid});
        return [&w, bias](const Request& request) {
          return RpeAttention2d(request.q, request.k, request.v, w, bias, Options(request));
        };
      });
}

}  // namespace
}  // namespace longwave::attention
