#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/retry.h"
#include "tests/client/fake_server.h"

namespace longwave::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::unique_ptr<Client> Connect(const FakeServer& server, Client::Options options = {}) {
  options.server = server.address();
  return std::move(Client::Create(options)).value();
}

TEST(ClientTest, EncodesEveryKindOfDocumentInOrder) {
  FakeServer server;
  const auto reply = Connect(server)->Encode(
      {Document::Text("hello"), Document::Bytes("A\xFFz"), Document::Ids({7, 300})}, {});
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_THAT(reply->results, SizeIs(3));
  EXPECT_THAT(reply->results[0].values, ElementsAre(5, 'h', 1));
  EXPECT_THAT(reply->results[1].values, ElementsAre(3, 'A', 1));
  EXPECT_THAT(reply->results[2].values, ElementsAre(2, 7, 1));
  EXPECT_EQ(reply->results[0].rows, 1);
  EXPECT_EQ(reply->results[0].cols, 3);
  EXPECT_EQ(reply->usage.tokens, 10);
  EXPECT_EQ(reply->usage.inputs, 3);
  EXPECT_EQ(reply->model.name, "toy");
  EXPECT_EQ(reply->timing.total, absl::Microseconds(1));
  EXPECT_GT(reply->timing.round_trip, absl::ZeroDuration());
}

TEST(ClientTest, ReadsHalvesAsFloats) {
  FakeServer server;
  for (const Precision precision : {Precision::kFloat16, Precision::kBfloat16}) {
    const auto reply = Connect(server)->Encode({Document::Text("xyz")}, {.precision = precision});
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_THAT(reply->results[0].values, ElementsAre(3, 'x', 1));
  }
}

TEST(ClientTest, SendsItsOptions) {
  FakeServer server;
  const auto reply = Connect(server)->Encode({Document::Text("xyz")},
                                             {.pooling = Pooling::kFirstToken,
                                              .normalize = true,
                                              .precision = Precision::kFloat32,
                                              .truncation = {.truncate = true, .max_tokens = 9}});
  ASSERT_TRUE(reply.ok()) << reply.status();
  const v1::EncodeOptions options = server.last_encode_options();
  EXPECT_TRUE(options.pooling().has_first_token());
  EXPECT_TRUE(options.normalize());
  EXPECT_EQ(options.truncation().policy(), v1::TRUNCATION_POLICY_TRUNCATE_END);
  EXPECT_EQ(options.truncation().max_tokens(), 9);
}

TEST(ClientTest, AssemblesPerTokenVectorsFromTheStream) {
  FakeServer server;
  const auto reply =
      Connect(server)->Encode({Document::Text("abc"), Document::Text("bad"), Document::Text("z")},
                              {.pooling = Pooling::kNone});
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_THAT(reply->results, SizeIs(3));
  EXPECT_THAT(reply->results[0].values, ElementsAre(3, 'a', 0, 3, 'a', 1, 3, 'a', 2));
  EXPECT_EQ(reply->results[0].rows, 3);
  EXPECT_EQ(reply->results[1].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(reply->results[2].values, ElementsAre(1, 'z', 0));
  EXPECT_EQ(reply->usage.tokens, 4);
  EXPECT_EQ(reply->usage.inputs, 2);
}

TEST(ClientTest, ClassifiesAndOneBadDocumentFailsAlone) {
  FakeServer server;
  const auto reply = Connect(server)->Classify(
      {Document::Text("tiny"), Document::Text("bad one"), Document::Text("more than ten bytes")},
      {.top_k = 1});
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_THAT(reply->results, SizeIs(3));
  ASSERT_THAT(reply->results[0].labels, SizeIs(1));
  EXPECT_EQ(reply->results[0].labels[0].label, "short");
  EXPECT_FLOAT_EQ(reply->results[0].labels[0].probability, 0.75f);
  EXPECT_EQ(reply->results[1].status, absl::InvalidArgumentError("a bad document"));
  ASSERT_THAT(reply->results[2].labels, SizeIs(1));
  EXPECT_EQ(reply->results[2].labels[0].label, "long");
}

TEST(ClientTest, AFailedRequestKeepsCodeAndMessage) {
  FakeServer server;
  server.FailNext(1, {grpc::StatusCode::NOT_FOUND, "no model 'x'"});
  const auto reply = Connect(server)->Encode({Document::Text("a")}, {.model = {.name = "x"}});
  EXPECT_EQ(reply.status(), absl::NotFoundError("no model 'x'"));
}

TEST(ClientTest, AnAnswerWithTooFewResultsIsAnError) {
  FakeServer server;
  server.DropLastResult();
  const auto reply = Connect(server)->Encode({Document::Text("a"), Document::Text("b")}, {});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("1 results for 2 documents"));
}

TEST(ClientTest, RetriesWhatMayPass) {
  FakeServer server;
  server.FailNext(2, {grpc::StatusCode::UNAVAILABLE, "not now"});
  const auto reply = Connect(server)->Classify({Document::Text("a")}, {});
  EXPECT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(server.requests(), 3);
}

TEST(ClientTest, SendsOnceWhatTheServerHasNoRoomFor) {
  for (const char* message : {"Received message larger than max (5 vs. 4)", "the queue is full"}) {
    FakeServer server;
    server.FailNext(1, {grpc::StatusCode::RESOURCE_EXHAUSTED, message});
    const auto reply = Connect(server)->Encode({Document::Text("a")}, {});
    EXPECT_EQ(reply.status(), absl::ResourceExhaustedError(message));
    EXPECT_EQ(server.requests(), 1);
  }
}

TEST(ClientTest, ComesAgainWhenABusyServerAsksForIt) {
  for (const Pooling pooling : {Pooling::kMean, Pooling::kNone}) {  // unary, stream
    FakeServer server;
    server.RefuseNext(3, absl::Milliseconds(2));
    const absl::Time start = absl::Now();
    const auto reply = Connect(server)->Encode({Document::Text("abc")}, {.pooling = pooling});
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->results[0].values[1], 'a');
    EXPECT_EQ(server.requests(), 4);
    EXPECT_GE(absl::Now() - start, absl::Milliseconds(2 + 4 + 8));
    EXPECT_GE(reply->timing.round_trip, absl::Milliseconds(2 + 4 + 8));
  }
}

TEST(ClientTest, GivesUpOnABusyServerAtTheDeadlineOrAfterSoManyAttempts) {
  FakeServer server;
  server.RefuseNext(100, absl::Minutes(5));
  auto reply = Connect(server)->Encode({Document::Text("a")}, {});  // a timeout of two minutes
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(reply.status().message(), "no room");
  EXPECT_EQ(RetryDelay(reply.status()), absl::Minutes(5));
  EXPECT_EQ(server.requests(), 1);

  server.RefuseNext(100, absl::Milliseconds(1));
  reply = Connect(server, {.max_busy_attempts = 3})->Encode({Document::Text("a")}, {});
  EXPECT_EQ(RetryDelay(reply.status()), absl::Milliseconds(1));
  EXPECT_EQ(server.requests(), 1 + 3);
  reply = Connect(server, {.max_busy_attempts = 1})->Encode({Document::Text("a")}, {});
  EXPECT_FALSE(reply.ok());
  EXPECT_EQ(server.requests(), 1 + 3 + 1);
}

TEST(ClientTest, WaitsForABusyServerWithoutHoldingAnybodyUp) {
  FakeServer server;
  server.RefuseNext(5, absl::Milliseconds(2));
  const auto client = Connect(server);
  std::atomic<int> answered = 0;
  for (int i = 0; i < 8; ++i) {
    client->ClassifyAsync({Document::Text("a")}, {}, [&](absl::StatusOr<ClassifyReply> reply) {
      EXPECT_TRUE(reply.ok()) << reply.status();
      ++answered;
    });
  }
  client->WaitUntilIdle();
  EXPECT_EQ(answered, 8);
  EXPECT_EQ(server.requests(), 8 + 5);
}

TEST(ClientTest, DoesNotRetryWhenToldNotTo) {
  FakeServer server;
  server.FailNext(1, {grpc::StatusCode::UNAVAILABLE, "not now"});
  const auto reply = Connect(server, {.max_attempts = 1})->Classify({Document::Text("a")}, {});
  EXPECT_EQ(reply.status(), absl::UnavailableError("not now"));
  EXPECT_EQ(server.requests(), 1);
}

TEST(ClientTest, GivesUpAtTheDeadline) {
  FakeServer server;
  server.Hold();
  const auto reply =
      Connect(server, {.timeout = absl::Milliseconds(20)})->Encode({Document::Text("a")}, {});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ClientTest, TellsThatNobodyIsThere) {
  FakeServer server;
  const auto client = Connect(server);
  server.Stop();
  EXPECT_EQ(client->ListModels().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client->CheckHealth("").code(), absl::StatusCode::kUnavailable);
}

TEST(ClientTest, RefusesToSendMoreThanTheMessageLimit) {
  FakeServer server;
  const auto reply = Connect(server, {.max_message_bytes = 10000, .max_attempts = 1})
                         ->Encode({Document::Bytes(std::string(10001, 'x'))}, {});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server.requests(), 0);
}

TEST(ClientTest, HoldsBackRequestsBeyondTheLimit) {
  constexpr int kLimit = 3;
  constexpr int kRequests = 20;
  FakeServer server;
  server.Hold();
  const auto client = Connect(server, {.max_in_flight = kLimit});
  std::atomic<int> answered = 0;
  std::thread sender([&] {
    for (int i = 0; i < kRequests; ++i) {
      client->EncodeAsync({Document::Text(std::string(i + 1, 'a'))}, {},
                          [&, i](absl::StatusOr<EncodeReply> reply) {
                            ASSERT_TRUE(reply.ok()) << reply.status();
                            EXPECT_EQ(reply->results[0].values[0], i + 1);
                            ++answered;
                          });
    }
  });
  server.WaitUntilInside(kLimit);
  EXPECT_EQ(answered, 0);
  server.Release();
  sender.join();
  client->WaitUntilIdle();
  EXPECT_EQ(answered, kRequests);
  EXPECT_EQ(server.requests(), kRequests);
  EXPECT_EQ(server.most_inside(), kLimit);
}

TEST(ClientTest, DestructionWaitsForCallbacks) {
  FakeServer server;
  std::atomic<bool> answered = false;
  Connect(server)->ClassifyAsync({Document::Text("a")}, {},
                                 [&](absl::StatusOr<ClassifyReply>) { answered = true; });
  EXPECT_TRUE(answered);
}

TEST(ClientTest, DestructionDoesNotWaitForABusyServer) {
  for (const Pooling pooling : {Pooling::kMean, Pooling::kNone}) {  // unary, stream
    FakeServer server;
    server.RefuseNext(100, absl::Seconds(50));
    absl::Status ended;
    const absl::Time start = absl::Now();
    Connect(server, {.timeout = absl::InfiniteDuration()})
        ->EncodeAsync({Document::Text("a")}, {.pooling = pooling},
                      [&](absl::StatusOr<EncodeReply> reply) { ended = reply.status(); });
    EXPECT_EQ(ended.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(RetryDelay(ended), absl::Seconds(50));
    EXPECT_EQ(server.requests(), 1);
    EXPECT_LT(absl::Now() - start, absl::Seconds(50));
  }
}

TEST(ClientTest, DescribesModels) {
  FakeServer server;
  const auto client = Connect(server);
  const auto models = client->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_THAT(*models, SizeIs(2));
  EXPECT_EQ((*models)[1].id.version, 2);
  const auto model = client->GetModel({.name = "toy"});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->hidden_size, 3);
  EXPECT_EQ(model->tokenizer, "byte");
  ASSERT_THAT(model->heads, SizeIs(1));
  EXPECT_THAT(model->heads[0].labels, ElementsAre("short", "long"));
  EXPECT_EQ(client->GetModel({.name = "none"}).status(), absl::NotFoundError("no model 'none'"));
}

TEST(ClientTest, AsksForHealth) {
  FakeServer server;
  const auto client = Connect(server);
  EXPECT_TRUE(client->CheckHealth("").ok());
  EXPECT_EQ(client->CheckHealth("no.such.Service").code(), absl::StatusCode::kNotFound);
  server.SetNotServing();
  const absl::Status status = client->CheckHealth("");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("NOT_SERVING"));
}

TEST(ClientOptionsTest, NamesTheOptionThatCannotWork) {
  const auto message = [](const Client::Options& options) {
    return std::string(Client::Create(options).status().message());
  };
  EXPECT_THAT(message({.server = ""}), HasSubstr("server"));
  EXPECT_THAT(message({.timeout = absl::ZeroDuration()}), HasSubstr("timeout"));
  EXPECT_THAT(message({.max_in_flight = 0}), HasSubstr("max_in_flight"));
  EXPECT_THAT(message({.max_message_bytes = int64_t{1} << 31}), HasSubstr("max_message_bytes"));
  EXPECT_THAT(message({.max_attempts = 6}), HasSubstr("max_attempts"));
  EXPECT_THAT(message({.max_busy_attempts = 0}), HasSubstr("max_busy_attempts"));
  EXPECT_TRUE(Client::Options().Validate().ok());
}

}  // namespace
}  // namespace longwave::client
