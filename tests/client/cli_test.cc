// The commands as a user types them, against a server in this process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/exit_code.h"
#include "client/cli/run.h"
#include "tests/client/fake_server.h"
#include "tests/client/scratch_folder.h"

namespace longwave::client {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

struct Finished {
  ExitCode code;
  std::string out;
  std::string err;
};

Finished Longwave(const std::vector<std::string>& arguments, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out, err;
  Console console{.in = in, .out = out, .err = err};
  const ExitCode code = RunCli(arguments, console);
  return {code, out.str(), err.str()};
}

class CliTest : public ::testing::Test {
 protected:
  Finished Ask(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.push_back("--server=" + server_.address());
    return Longwave(arguments, input);
  }

  FakeServer server_;
  ScratchFolder folder_;
};

TEST_F(CliTest, ClassifyPrintsATable) {
  const std::string tiny = folder_.Write("tiny.txt", "tiny");
  const std::string large = folder_.Write("large.txt", "more than ten bytes");
  const Finished run = Ask({"classify", folder_.path()});
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  std::istringstream lines(run.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_THAT(line, MatchesRegex("INPUT +SIZE +TOKENS +LABEL +PROBABILITY +MS"));
  std::getline(lines, line);
  EXPECT_THAT(line, AllOf(HasSubstr(large), MatchesRegex(".* 19 B +19 +long +75.0% +[0-9.]+")));
  std::getline(lines, line);
  EXPECT_THAT(line, AllOf(HasSubstr(tiny), MatchesRegex(".* 4 B +4 +short +75.0% +[0-9.]+")));
  EXPECT_THAT(run.out, HasSubstr("2 inputs, 23 B, 23 tokens in "));
  EXPECT_THAT(run.out, HasSubstr("by toy version 2"));
  EXPECT_THAT(run.err, IsEmpty());
}

TEST_F(CliTest, ClassifyPrintsFurtherLabelsAndNeighbours) {
  const Finished run =
      Ask({"classify", "--top_k=2", "--nearest", "--text=aaaa", "--text=aaa", "--text=z"});
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("long 25.0%"));
  EXPECT_THAT(run.out, MatchesRegex("(.|\n)*\"aaaa\" .*\"aaa\" +1.000\n(.|\n)*"));
}

TEST_F(CliTest, ClassifyPrintsJson) {
  const Finished run = Ask({"classify", "--json", "--top_k=0", "--text", "tiny", "--text", "bad"});
  EXPECT_EQ(run.code, ExitCode::kSomeInputsFailed);
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["model"]["name"], "toy");
  EXPECT_EQ(json["usage"]["inputs"], 1);
  ASSERT_EQ(json["results"].size(), 2);
  EXPECT_EQ(json["results"][0]["input"], "\"tiny\"");
  EXPECT_EQ(json["results"][0]["labels"][0]["label"], "short");
  EXPECT_EQ(json["results"][0]["labels"][0]["probability"], 0.75);
  EXPECT_EQ(json["results"][0]["labels"].size(), 2);
  EXPECT_EQ(json["results"][1]["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["results"][1]["error"]["message"], "a bad document");
  EXPECT_THAT(run.err, HasSubstr("longwave: \"bad\": a bad document"));
}

TEST_F(CliTest, EncodePrintsVectors) {
  const Finished run = Ask({"encode", "--text=hello", "--json"});
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["results"][0]["embedding"], (std::vector<float>{5, 'h', 1}));
  EXPECT_THAT(Ask({"encode", "--text=hello"}).out, HasSubstr("1x3"));
}

TEST_F(CliTest, EncodeReadsStandardInput) {
  const Finished run = Ask({"encode", "-", "--json"}, "from a pipe");
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["results"][0]["input"], "(stdin)");
  EXPECT_EQ(json["results"][0]["bytes"], 11);
}

TEST_F(CliTest, EncodePrintsOneVectorPerToken) {
  const Finished run = Ask({"encode", "--pooling=none", "--json", "--as=ids", "--text=9 5"});
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["results"][0]["embedding"],
            (std::vector<std::vector<float>>{{2, 9, 0}, {2, 9, 1}}));
}

TEST_F(CliTest, EncodeWritesNpyWithNaNForAFailedInput) {
  const std::string path = folder_.Path("out.npy");
  const Finished run = Ask({"encode", "--npy", path, "--text=ab", "--text=bad", "--text=c"});
  EXPECT_EQ(run.code, ExitCode::kSomeInputsFailed);
  const std::string file = folder_.Read("out.npy");
  EXPECT_THAT(file, HasSubstr("'shape': (3, 3)"));
  ASSERT_EQ(file.size(), 128 + 9 * 4);
  float values[9];
  std::memcpy(values, file.data() + 128, sizeof(values));
  EXPECT_THAT(std::vector<float>(values, values + 3), ElementsAre(2, 'a', 1));
  EXPECT_THAT(std::vector<float>(values + 3, values + 6),
              Each(::testing::NanSensitiveFloatEq(NAN)));
  EXPECT_THAT(std::vector<float>(values + 6, values + 9), ElementsAre(1, 'c', 1));
}

TEST_F(CliTest, AnOutputThatCannotBeWrittenIsAnInternalError) {
  const Finished run = Ask({"encode", "--text=a", "--npy=/no/such/folder/x.npy"});
  EXPECT_EQ(run.code, ExitCode::kInternal);
  EXPECT_THAT(run.err, HasSubstr("cannot write /no/such/folder/x.npy"));
}

TEST_F(CliTest, CutsInputsIntoRequests) {
  std::vector<std::string> arguments = {"classify", "--batch=4", "--in_flight=1"};
  for (int i = 0; i < 10; ++i) arguments.push_back("--text=" + std::string(i + 1, 'x'));
  EXPECT_EQ(Ask(arguments).code, ExitCode::kOk);
  EXPECT_THAT(server_.documents_per_request(), ElementsAre(4, 4, 2));
}

TEST_F(CliTest, NoRequestPassesTheMessageLimitAndAFileThatIsTooLargeFailsAlone) {
  folder_.Write("a", std::string(30'000, 'a'));
  folder_.Write("b", std::string(30'000, 'b'));
  folder_.Write("c", std::string(30'000, 'c'));
  folder_.Write("d", std::string(70'000, 'd'));
  const Finished run =
      Ask({"classify", folder_.path(), "--max_message_bytes=64KiB", "--in_flight=1"});
  EXPECT_EQ(run.code, ExitCode::kSomeInputsFailed);
  EXPECT_THAT(server_.documents_per_request(), ElementsAre(2, 1));
  EXPECT_THAT(run.err, HasSubstr("/d: 70 kB is more than the 61.4 kB"));
  EXPECT_THAT(run.out, HasSubstr("(failed)"));
}

TEST_F(CliTest, AMissingFileFailsAlone) {
  const Finished run = Ask({"classify", "/no/such/file", folder_.Write("a", "a")});
  EXPECT_EQ(run.code, ExitCode::kSomeInputsFailed);
  EXPECT_THAT(run.err, HasSubstr("longwave: /no/such/file: cannot open it: No such file"));
  EXPECT_THAT(run.out, HasSubstr("short"));
}

TEST_F(CliTest, ManyFailuresAreCounted) {
  std::vector<std::string> arguments = {"classify"};
  for (int i = 0; i < 14; ++i) arguments.push_back("/no/such/file" + std::to_string(i));
  const Finished run = Ask(arguments);
  EXPECT_EQ(run.code, ExitCode::kSomeInputsFailed);
  EXPECT_THAT(run.err, HasSubstr("and 4 more inputs failed"));
}

TEST_F(CliTest, AFailureOfARequestIsSaidOnceAndEndsTheSending) {
  server_.FailNext(1000, {grpc::StatusCode::INVALID_ARGUMENT, "no head 'x'"});
  std::vector<std::string> arguments = {"classify", "--head=x", "--batch=1", "--in_flight=1"};
  for (int i = 0; i < 50; ++i) arguments.push_back("--text=abc");
  const Finished run = Ask(arguments);
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_EQ(run.err, "longwave: no head 'x'\n");
  EXPECT_THAT(run.out, IsEmpty());
  EXPECT_LT(server_.requests(), 5);
}

TEST_F(CliTest, ExitCodesTellKindsOfFailure) {
  FakeServer slow;
  slow.Hold();
  Finished run = Longwave({"encode", "--text=a", "--timeout=200ms", "--server=" + slow.address()});
  EXPECT_EQ(run.code, ExitCode::kDeadline);
  EXPECT_THAT(run.err, HasSubstr("raise --timeout"));
  server_.FailNext(1, {grpc::StatusCode::INTERNAL, "a bug"});
  run = Ask({"encode", "--text=a"});
  EXPECT_EQ(run.code, ExitCode::kInternal);

  server_.FailNext(
      1, {grpc::StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"});
  run = Ask({"encode", "--text=a"});
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_THAT(run.err, HasSubstr("lower --batch"));

  server_.FailNext(1, {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"});
  run = Ask({"encode", "--text=a"});
  EXPECT_EQ(run.code, ExitCode::kBusy);
  EXPECT_THAT(run.err, HasSubstr("too busy: the queue is full"));

  server_.RefuseNext(1, absl::Milliseconds(34));
  run = Ask({"encode", "--text=a", "--no_retry"});
  EXPECT_EQ(run.code, ExitCode::kBusy);
  EXPECT_THAT(run.err, HasSubstr("too busy: no room; try again in 34ms or lower --in_flight"));
  server_.RefuseNext(1, absl::Milliseconds(1));
  EXPECT_EQ(Ask({"encode", "--text=a"}).code, ExitCode::kOk);

  run = Ask({"encode", "--text=a", "--model=other"});
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_THAT(run.err,
              HasSubstr("no model 'other' is loaded; --model can be one of: toy version 1,"));

  server_.Stop();
  run = Ask({"encode", "--text=a"});
  EXPECT_EQ(run.code, ExitCode::kUnavailable);
  EXPECT_THAT(run.err, HasSubstr("is longwave-server running there?"));
}

TEST_F(CliTest, HealthIsAProbe) {
  Finished run = Ask({"health"});
  EXPECT_EQ(run.code, ExitCode::kOk);
  EXPECT_EQ(run.out, "SERVING\n");
  EXPECT_EQ(Ask({"health", "--service=no.such.Service"}).code, ExitCode::kRefused);
  server_.SetNotServing();
  run = Ask({"health"});
  EXPECT_EQ(run.code, ExitCode::kUnavailable);
  EXPECT_THAT(run.err, HasSubstr("NOT_SERVING"));
  server_.Stop();
  EXPECT_EQ(Ask({"health"}).code, ExitCode::kUnavailable);
}

TEST_F(CliTest, ExplainsThePlanOfTheAttention) {
  Finished run = Ask({"plan", "toy", "--n=700"});
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("0-2, 5"));
  EXPECT_THAT(run.out, HasSubstr("12.5 ms"));
  EXPECT_THAT(run.out, HasSubstr("structured: fastest"));
  // The toy model takes 1,000 tokens: of the usual lengths only 512.
  run = Ask({"plan", "toy", "--json"});
  EXPECT_THAT(run.out, HasSubstr("512"));
  EXPECT_THAT(run.out, Not(HasSubstr("4096")));
  EXPECT_EQ(Ask({"plan", "other", "--n=5"}).code, ExitCode::kRefused);
  EXPECT_EQ(Ask({"plan"}).code, ExitCode::kUsage);
  EXPECT_EQ(Ask({"plan", "toy", "--n=0"}).code, ExitCode::kUsage);
}

TEST_F(CliTest, ListsModels) {
  Finished run = Ask({"models"});
  EXPECT_EQ(run.code, ExitCode::kOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("size (2 labels)"));
  EXPECT_THAT(run.out, HasSubstr("1.23M"));
  run = Ask({"models", "toy"});
  EXPECT_THAT(run.out, HasSubstr("Labels of head size: short, long"));
  run = Ask({"models", "--json"});
  EXPECT_EQ(nlohmann::json::parse(run.out)["models"][1]["version"], 2);
  run = Ask({"models", "other"});
  EXPECT_EQ(run.code, ExitCode::kRefused);
  EXPECT_THAT(run.err, HasSubstr("no model 'other'"));
}

TEST(CliUsageTest, WrongUsageIsToldWithoutAServer) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"paint"},
                                             {"encode", "--no_such_flag"},
                                             {"encode"},
                                             {"encode", "--text=a", "--pooling=max"},
                                             {"encode", "--text=a", "--timeout=soon"},
                                             {"encode", "--text=a", "--batch=0"},
                                             {"classify", "--text=a", "--top_k=-1"},
                                             {"classify", "-", "-"},
                                             {"health", "extra"}}) {
    const Finished run = Longwave(arguments);
    EXPECT_EQ(run.code, ExitCode::kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(run.err, HasSubstr("longwave: "));
    EXPECT_THAT(run.out, IsEmpty());
  }
}

TEST(CliUsageTest, HelpNamesExitCodesAndExamples) {
  for (const char* command : {"encode", "classify"}) {
    const Finished run = Longwave({command, "--help"});
    EXPECT_EQ(run.code, ExitCode::kOk);
    EXPECT_THAT(run.out, HasSubstr("Examples:"));
    EXPECT_THAT(run.out, HasSubstr("5  no answer within --timeout"));
    std::istringstream lines(run.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100) << line;
  }
  EXPECT_THAT(Longwave({"--version"}).out, MatchesRegex("longwave [0-9.]+\n"));
}

}  // namespace
}  // namespace longwave::client
