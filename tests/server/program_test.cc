// longwave-server as a program: ports, signals, exit codes, messages.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "longwave/v1/inference.grpc.pb.h"
#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

extern char** environ;

namespace longwave {
namespace {

using ::testing::HasSubstr;

// A running program whose output, of both kinds, comes through a pipe.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments,
                   const char* program = LONGWAVE_SERVER_PROGRAM) {
    int pipe_ends[2];
    EXPECT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
    std::vector<char*> argv = {const_cast<char*>(program)};
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[1]);
    output_fd_ = pipe_ends[0];
  }
  ~Program() {
    if (!waited_) {
      kill(pid_, SIGKILL);
      Wait();
    }
    close(output_fd_);
  }

  // Blocks until the output holds `text`; false when the program ends first.
  bool AwaitOutput(const std::string& text) {
    while (!absl::StrContains(output_, text)) {
      if (!ReadMore()) return false;
    }
    return true;
  }

  void Signal(int signal) { kill(pid_, signal); }

  // Blocks until the program ends; returns its exit code, or 128 plus the signal that ended it.
  int Wait() {
    while (ReadMore()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    waited_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  const std::string& output() const { return output_; }

 private:
  bool ReadMore() {
    char buffer[4096];
    const ssize_t n = read(output_fd_, buffer, sizeof(buffer));
    if (n > 0) output_.append(buffer, n);
    return n > 0;
  }

  pid_t pid_ = -1;
  int output_fd_ = -1;
  bool waited_ = false;
  std::string output_;
};

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::WriteRandomModel(scratch_.path() + "/models/small/1", testing::SmallModelConfig(), 5);
  }

  std::vector<std::string> Arguments(const std::string& listen,
                                     std::initializer_list<std::string> more = {}) const {
    std::vector<std::string> arguments = {
        absl::StrCat("--model_repository=", scratch_.path(), "/models"),
        absl::StrCat("--listen=", listen), "--metrics_listen=127.0.0.1:0", "--threads=1"};
    arguments.insert(arguments.end(), more);
    return arguments;
  }

  // The ports of gRPC and of the metrics in a port file.
  static std::pair<int, int> ReadPorts(const std::string& path) {
    std::ifstream in(path);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::pair<int, int> ports;
    EXPECT_EQ(
        std::sscanf(text.c_str(), "{\"grpc\": %d, \"metrics\": %d}", &ports.first, &ports.second),
        2)
        << text;
    return ports;
  }

  testing::TempFolder scratch_;
};

TEST_F(ProgramTest, ServesUntilSigtermThenExitsWithZero) {
  const std::string port_file = scratch_.path() + "/ports";
  Program program(Arguments("127.0.0.1:0", {absl::StrCat("--port_file=", port_file)}));
  ASSERT_TRUE(program.AwaitOutput("ready after")) << program.output();
  EXPECT_THAT(program.output(), HasSubstr("small"));
  EXPECT_THAT(program.output(), HasSubstr("classify topic (3 labels)"));

  std::ifstream in(port_file);
  const std::string ports{std::istreambuf_iterator<char>(in), {}};
  int grpc_port = 0;
  int metrics_port = 0;
  ASSERT_EQ(
      std::sscanf(ports.c_str(), "{\"grpc\": %d, \"metrics\": %d}", &grpc_port, &metrics_port), 2)
      << ports;
  EXPECT_EQ(SeriesValue(HttpGet(metrics_port, "/metrics"), "longwave_requests_in_flight"), 0);

  Program second(Arguments(absl::StrCat("127.0.0.1:", grpc_port)));
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.output(), HasSubstr(absl::StrCat("cannot listen on 127.0.0.1:", grpc_port)));

  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait(), 0) << program.output();
  EXPECT_THAT(program.output(), HasSubstr("every request was answered"));
  EXPECT_FALSE(std::filesystem::exists(port_file));
}

TEST_F(ProgramTest, APortFileOfAnEarlierRunIsGoneBeforeModelsAreRead) {
  const std::string port_file = scratch_.path() + "/ports";
  std::ofstream(port_file) << "{\"grpc\": 1, \"metrics\": 2}\n";
  std::ofstream(scratch_.path() + "/models/small/1/config.json") << "{}";
  Program program(Arguments("127.0.0.1:0", {absl::StrCat("--port_file=", port_file)}));
  EXPECT_EQ(program.Wait(), 1) << program.output();
  EXPECT_FALSE(std::filesystem::exists(port_file));
}

// SentencePiece's library and gRPC's each bring a protobuf; the server has to keep them apart.
TEST_F(ProgramTest, SentencePieceLivesBesideGrpc) {
  const std::string text = "linear attention with relative positions, 100 \xe2\x82\xac";
  Program writer({scratch_.path() + "/models/pieces/1", text}, LONGWAVE_WRITE_SENTENCEPIECE_MODEL);
  ASSERT_EQ(writer.Wait(), 0) << writer.output();
  std::filesystem::remove_all(scratch_.path() + "/models/small");

  const std::string port_file = scratch_.path() + "/ports";
  Program program(Arguments("127.0.0.1:0", {absl::StrCat("--port_file=", port_file)}));
  ASSERT_TRUE(program.AwaitOutput("ready after")) << program.output();
  const int grpc_port = ReadPorts(port_file).first;

  v1::EncodeRequest request = EncodeTexts({text});
  v1::TokenIds* const ids = request.add_inputs()->mutable_token_ids();
  for (const absl::string_view line : absl::StrSplit(writer.output(), '\n', absl::SkipEmpty())) {
    uint32_t id = 0;
    if (absl::SimpleAtoi(line, &id)) ids->add_ids(id);
  }
  EXPECT_GT(ids->ids_size(), 5);
  const auto stub = v1::InferenceService::NewStub(grpc::CreateChannel(
      absl::StrCat("127.0.0.1:", grpc_port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::EncodeResponse response;
  const grpc::Status status = stub->Encode(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.results(0).status().code(), 0) << response.results(0).status().message();
  EXPECT_EQ(response.results(0).tokens(), ids->ids_size());
  EXPECT_THAT(
      Floats(response.results(0).embedding()),
      ::testing::Pointwise(::testing::FloatNear(1e-5), Floats(response.results(1).embedding())));
}

TEST_F(ProgramTest, SigintStopsToo) {
  Program program(Arguments("127.0.0.1:0"));
  ASSERT_TRUE(program.AwaitOutput("ready after")) << program.output();
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 0);
}

TEST_F(ProgramTest, AMissingRepositoryIsAStartUpError) {
  Program program({"--model_repository=/no/such/folder"});
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.output(), HasSubstr("/no/such/folder"));
}

TEST_F(ProgramTest, ABrokenModelIsAStartUpError) {
  std::ofstream(scratch_.path() + "/models/small/1/config.json") << "{}";
  Program program(Arguments("127.0.0.1:0"));
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.output(), HasSubstr("model small version 1"));
  EXPECT_THAT(program.output(), HasSubstr("config.json"));
}

TEST_F(ProgramTest, BadFlagsHaveTheirOwnExitCode) {
  Program program(Arguments("127.0.0.1:0", {"--max_inputs=0"}));
  EXPECT_EQ(program.Wait(), 2);
  EXPECT_THAT(program.output(), HasSubstr("max_inputs: found 0"));
}

TEST_F(ProgramTest, WordsThatAreNotFlagsAreRefused) {
  Program program(Arguments("127.0.0.1:0", {"models/", "--max_inputs=5", "more"}));
  EXPECT_EQ(program.Wait(), 2);
  EXPECT_THAT(program.output(), HasSubstr("models/ more"));
}

TEST_F(ProgramTest, HelpShowsEveryFlagWithItsDefault) {
  Program program({"--help"});
  EXPECT_EQ(program.Wait(), 0);
  for (const char* flag :
       {"--model_repository", "--listen", "--metrics_listen", "--threads", "--max_batch_tokens",
        "--max_batch_inputs", "--max_queue_tokens", "--max_queue_inputs", "--max_inputs",
        "--max_input_tokens", "--max_in_flight_bytes", "--max_message_bytes",
        "--max_response_bytes", "--drain_timeout", "--port_file"}) {
    EXPECT_THAT(program.output(), HasSubstr(flag));
  }
  EXPECT_THAT(program.output(), HasSubstr("\n  --max_message_bytes=64MiB\n      Size of one"));
}

}  // namespace
}  // namespace longwave
