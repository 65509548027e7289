// The program as a process: exit codes, help, errors, and a gateway that waits for its own objects in the hub.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "control/admin/policy_replies.h"
#include "control/admin/replies.h"
#include "control/admin/server.h"
#include "test/support/loop_thread.h"

namespace isthmus {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

std::string content_of(const fs::path& file) {
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* program = std::getenv("ISTHMUS_PROGRAM");
    ASSERT_NE(program, nullptr) << "ISTHMUS_PROGRAM names the program under test; meson test sets it";
    program_ = program;
    char name[] = "/tmp/ist-program-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    fs::create_directories(folder_ / "run");
    ::setenv("ISTHMUS_RUN_DIR", (folder_ / "run").c_str(), 1);
    ::unsetenv("ISTHMUS_SOCKET");
    const group* own = ::getgrgid(::getegid());
    ASSERT_NE(own, nullptr);
    group_ = own->gr_name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Its output goes to the files out and err in the folder `where` of the test.
  // With `err`, stderr goes there.
  [[nodiscard]] pid_t start(std::vector<std::string> words, const std::string& where = "main", int err = -1) const {
    fs::create_directories(folder_ / where);
    const pid_t child = ::fork();
    if (child == 0) {
      for (const auto& [fd, file] : {std::pair{1, "out"}, std::pair{2, "err"}}) {
        ::dup2(::open((folder_ / where / file).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), fd);
      }
      if (err >= 0) {
        ::dup2(err, 2);
      }
      words.insert(words.begin(), program_);
      std::vector<char*> arguments;
      for (std::string& word : words) {
        arguments.push_back(word.data());
      }
      arguments.push_back(nullptr);
      ::execv(program_.c_str(), arguments.data());
      ::_exit(127);
    }
    return child;
  }
  [[nodiscard]] Outcome finish(pid_t child, const std::string& where = "main") const {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), content_of(folder_ / where / "out"),
            content_of(folder_ / where / "err")};
  }
  [[nodiscard]] Outcome isthmus(const std::vector<std::string>& words, const std::string& where = "query") const {
    return finish(start(words, where), where);
  }

  fs::path write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  // A configuration whose hub is a folder of the test.
  fs::path write_config() const {
    fs::create_directories(folder_ / "hub/fleet");
    fs::create_directories(folder_ / "hub/clusters/east");
    return write("gateway.yaml",
                 "gateway: {name: east-1, cluster: east}\n"
                 "devices:\n"
                 "  underlay: {interface: ist-none}\n"
                 "  local: {interface: ist-local, veth: true}\n"
                 "translation: {ipv4: 10.1.255.1}\n"
                 "hub: {file: {path: " +
                     (folder_ / "hub").string() +
                     "}}\n"
                     "admin: {socket: " +
                     (folder_ / "run/east-1.sock").string() + ", group: " + group_ + "}\nstate: {directory: " +
                     folder_.string() + ", last_known_directory: " + folder_.string() + "/known}\n");
  }

  std::string program_, group_;
  fs::path folder_;
};

// An admin server in the test that answers every request with the same line.
class FakeGateway {
 public:
  FakeGateway(const fs::path& socket, const std::string& group, std::string answer) {
    AdminOptions options;
    options.path = socket.string();
    options.group = group;
    auto server =
        AdminServer::listen(thread_.loop(), options, [answer = std::move(answer)](std::string_view) { return answer; });
    EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().text());
    server_ = std::move(*server);
    thread_.start();
  }
  ~FakeGateway() { thread_.stop(); }

 private:
  LoopThread thread_;
  std::unique_ptr<AdminServer> server_;
};

std::string status_reply(const std::string& name) {
  StatusReply status;
  status.name = name;
  status.cluster = "east";
  return encode_status(status);
}

TEST_F(ProgramTest, PrintsItsVersion) {
  for (const char* word : {"version", "--version"}) {
    const Outcome outcome = isthmus({word});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.out, "isthmus " ISTHMUS_VERSION "\n");
  }
}

TEST_F(ProgramTest, HelpNamesCommandsExamplesAndExitCodes) {
  const Outcome outcome = isthmus({"--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  for (const char* part :
       {"run", "status", "services", "endpoints", "connections", "flows", "drops", "policy", "allocate", "config",
        "doctor", "cleanup", "version", "Examples:", "Exit codes:", "ISTHMUS_SOCKET"}) {
    EXPECT_TRUE(contains(outcome.out, part)) << part;
  }
  for (const char* command : {"run", "status", "services", "endpoints", "connections", "flows", "drops", "policy",
                              "allocate", "config", "doctor", "cleanup"}) {
    const Outcome help = isthmus({command, "--help"});
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_TRUE(contains(help.out, "Usage")) << command;
  }
}

TEST_F(ProgramTest, AWrongCommandLineIsExitCodeTwoWithTheReason) {
  const std::vector<std::vector<std::string>> wrong{{},
                                                    {"sail"},
                                                    {"status", "--colour"},
                                                    {"run"},
                                                    {"connections", "--limit", "0"},
                                                    {"connections", "--limit", "many"},
                                                    {"connections", "--address", "10.1"},
                                                    {"flows", "--ip", "10.1"},
                                                    {"flows", "--port", "0"},
                                                    {"flows", "--protocol", "carrier-pigeon"},
                                                    {"flows", "--verdict", "perhaps"},
                                                    {"flows", "--identity", "me"},
                                                    {"flows", "--pod", ""},
                                                    {"flows", "--since", "yesterday"},
                                                    {"flows", "--since", "5"},
                                                    {"flows", "--last", "-1"},
                                                    {"flows", "--last", "65536"},
                                                    {"flows", "--colour", "red"},
                                                    {"flows", "-o", "table"},
                                                    {"status", "-o", "xml"},
                                                    {"policy", "trace"},
                                                    {"policy", "trace", "--from", "a/b", "--port", "80/tcp"},
                                                    {"allocate", "web"},
                                                    {"allocate", "--hub", "x", "--pool", "10.0.0.0/8"},
                                                    {"allocate", "a/b", "--hub", "x", "--pool", "10.0.0.0/8"},
                                                    {"allocate", "--alias", "south", "--hub", "x"},
                                                    {"allocate", "--alias", "south", "--pool", "10.0.0.0/8"},
                                                    {"allocate", "a/b", "--alias", "c", "--hub", "x", "--pool", "::/8"},
                                                    {"config"}};
  for (const auto& words : wrong) {
    const Outcome outcome = isthmus(words);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(words);
    EXPECT_EQ(outcome.err.rfind("isthmus: ", 0), 0u) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(ProgramTest, NoGatewayIsExitCodeThree) {
  Outcome outcome = isthmus({"status"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "no gateway runs here")) << outcome.err;
  outcome = isthmus({"drops", "-s", "nobody"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "run/nobody.sock")) << outcome.err;
}

TEST_F(ProgramTest, TheOnlyGatewayIsFoundAndSeveralMustBeChosenFrom) {
  const FakeGateway east(folder_ / "run/east-1.sock", group_, status_reply("east-1"));
  Outcome outcome = isthmus({"status"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "east-1 of cluster east")) << outcome.out;

  const FakeGateway west(folder_ / "run/west-1.sock", group_, status_reply("west-1"));
  outcome = isthmus({"status"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "east-1, west-1")) << outcome.err;
  outcome = isthmus({"status", "-s", "west-1"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "west-1 of cluster")) << outcome.out;
  outcome = isthmus({"status", "--socket", (folder_ / "run/east-1.sock").string(), "-o", "json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)["name"], "east-1");
}

TEST_F(ProgramTest, APolicyTraceReachesTheGatewayComplete) {
  PolicyTraceReply reply;
  reply.endpoint.name = "west/shop/web-1";
  reply.to = PolicyPartyRow{"east/shop/cart-0", 65792, ""};
  reply.verdict = "denied";
  const FakeGateway gateway(folder_ / "run/east-1.sock", group_, encode_policy_trace(reply));
  Outcome outcome =
      isthmus({"policy", "trace", "--from", "west/shop/web-1", "--to", "shop/cart-0", "--port", "80/tcp"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "verdict      denied\n")) << outcome.out;
  outcome = isthmus({"policy", "trace", "--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(contains(outcome.out, "--from")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "Example")) << outcome.out;
}

TEST_F(ProgramTest, AnErrorOfTheGatewayIsExitCodeOne) {
  const FakeGateway gateway(folder_ / "run/east-1.sock", group_, encode_error({"not now", "east-1", "later"}));
  const Outcome outcome = isthmus({"flows"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "isthmus: east-1: not now (later)\n");
}

TEST_F(ProgramTest, ConfigCheckNamesFileLineAndFixOfEveryError) {
  const fs::path file = write("bad.yaml",
                              "gateway: {name: east-1, cluster: east}\n"
                              "engine:\n"
                              "  wokers: 2\n"
                              "  idle: slumber\n"
                              "devices:\n"
                              "  underlay: {interface: eth0}\n"
                              "  local: {interface: isthmus0, veth: true}\n"
                              "hub: {file: {path: /tmp}}\n");
  const Outcome outcome = isthmus({"config", "check", file.string()});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, file.string() + ":3")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "workers")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, file.string() + ":4")) << outcome.err;
  EXPECT_EQ(isthmus({"run", "-c", file.string()}).exit_code, 2);
  EXPECT_EQ(isthmus({"cleanup", "-c", file.string()}).exit_code, 2);
  EXPECT_EQ(isthmus({"config", "check", (folder_ / "none.yaml").string()}).exit_code, 2);
}

TEST_F(ProgramTest, AConfigurationThatIsNoRegularFileIsExitCodeTwoWithWhatToDo) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_directories(folder_ / "folder.yaml");
  const std::vector<std::pair<std::string, std::string>> rows{{(folder_ / "folder.yaml").string(), "it is a folder"},
                                                              {pipe.string(), "it is a pipe"},
                                                              {"/dev/zero", "it is a device"}};
  for (const auto& [file, why] : rows) {
    const std::vector<std::vector<std::string>> commands{
        {"config", "check", file}, {"run", "-c", file}, {"cleanup", "-c", file}};
    for (const auto& words : commands) {
      const Outcome outcome = isthmus(words);
      EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(words);
      EXPECT_EQ(outcome.err, "isthmus: " + file + ": the configuration cannot be read: " + why +
                                 " (name a regular file that this user may read)\n");
    }
  }
}

TEST_F(ProgramTest, AConfigurationLargerThanItsBoundIsExitCodeTwo) {
  const fs::path file = write("large.yaml", "");
  fs::resize_file(file, (1U << 20) + 1);
  const Outcome outcome = isthmus({"config", "check", file.string()});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(contains(outcome.err, "it is larger than 1 MiB (name a file of at most 1 MiB)")) << outcome.err;
}

TEST_F(ProgramTest, ConfigCheckShowsWhatIsInForce) {
  const Outcome outcome = isthmus({"config", "check", write_config().string()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "good")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "engine.connections: 262144")) << outcome.out;
}

TEST_F(ProgramTest, AllocateClaimsTheLowestFreeAddressOnce) {
  write_config();
  const std::vector<std::string> words{"allocate",  "shop/web",      "--hub",  (folder_ / "hub").string(),
                                       "--cluster", "east",          "--pool", "10.200.0.0/24",
                                       "--pool",    "fd00:200::/120"};
  const Outcome first = isthmus(words);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, "10.200.0.1\nfd00:200::1\n");
  EXPECT_TRUE(contains(first.err, "claimed in")) << first.err;
  const Outcome again = isthmus(words);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.out, first.out);
  EXPECT_TRUE(contains(again.err, "already claimed in")) << again.err;
  EXPECT_EQ(isthmus({"allocate", "web", "--hub", "x", "--cluster", "e", "--pool", "10.0.0.0/8"}).exit_code, 2);
  EXPECT_EQ(isthmus({"allocate", "a/b", "--hub", "x", "--cluster", "e", "--pool", "10.0.0"}).exit_code, 2);
  EXPECT_EQ(isthmus({"allocate", "a/b", "--hub", "/nowhere", "--cluster", "e", "--pool", "10.0.0.0/8"}).exit_code, 1);
}

// A gateway whose own objects are not in the hub yet: it needs no privileges, answers, and reports what is missing.
class WaitingGatewayTest : public ProgramTest {
 protected:
  // The first status for which `holds` is true, or null after a minute.
  [[nodiscard]] json status_when(const std::function<bool(const json&)>& holds) const {
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
         std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
      const Outcome outcome = isthmus({"status", "-o", "json"});
      const json status = outcome.exit_code == 0 ? json::parse(outcome.out, nullptr, false) : json();
      if (status.is_object() && holds(status)) {
        return status;
      }
    }
    return nullptr;
  }
};

bool eventually(const std::function<bool()>& holds) {
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
       std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    if (holds()) {
      return true;
    }
  }
  return false;
}

bool has_problem(const json& status, std::string_view part) {
  for (const json& problem : status["problems"]) {
    if (contains(problem.dump(), part)) {
      return true;
    }
  }
  return false;
}

TEST_F(WaitingGatewayTest, ReportsWhatIsMissingAndStopsOnSigterm) {
  const fs::path config = write_config();
  const pid_t gateway = start({"run", "-c", config.string()});
  const json status = status_when([](const json& s) { return s["hub"]["synced"] == true && !s["problems"].empty(); });
  ASSERT_FALSE(status.is_null()) << content_of(folder_ / "main/err");
  EXPECT_TRUE(contains(status["state"].get<std::string>(), "waiting")) << status;
  EXPECT_TRUE(has_problem(status, "east")) << status;
  EXPECT_EQ(status["pid"], gateway);
  EXPECT_EQ(isthmus({"flows"}).exit_code, 1);
  EXPECT_EQ(isthmus({"cleanup", "-c", config.string()}).exit_code, 1);

  // A second one of that name waits beside it until it can take over, which it cannot without those objects.
  const pid_t second = start({"run", "-c", config.string()}, "second");
  EXPECT_TRUE(eventually([&] { return contains(content_of(folder_ / "second/err"), "following "); }))
      << content_of(folder_ / "second/err");
  EXPECT_EQ(status_when([](const json&) { return true; })["pid"], gateway);
  ::kill(second, SIGTERM);
  const Outcome ended = finish(second, "second");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(status_when([](const json&) { return true; })["pid"], gateway);

  // A broken manifest is listed with file and line, and no longer once it is fixed.
  const fs::path broken = write("hub/clusters/east/web.yaml", "apiVersion: v1\nkind: Service\nmetadata: [\n");
  EXPECT_FALSE(status_when([](const json& s) { return has_problem(s, "web.yaml:"); }).is_null());
  fs::remove(broken);
  ::kill(gateway, SIGHUP);
  EXPECT_FALSE(status_when([](const json& s) { return !has_problem(s, "web.yaml:"); }).is_null());

  ::kill(gateway, SIGTERM);
  const Outcome outcome = finish(gateway);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "resolved: ")) << outcome.err;
  EXPECT_FALSE(fs::exists(folder_ / "run/east-1.sock"));
}

TEST_F(WaitingGatewayTest, AnswersAndStopsAlsoWhereNobodyReadsItsLog) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  while (::write(ends[1], "\n", 1) == 1) {
  }
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, 0), 0);  // the gateway's writes block
  const pid_t gateway = start({"run", "-c", write_config().string()}, "main", ends[1]);
  EXPECT_FALSE(status_when([](const json& s) { return s["hub"]["synced"] == true; }).is_null());
  for (int i = 0; i < 10; ++i) {  // each is logged when it appears and when it is resolved
    const fs::path broken = write("hub/clusters/east/web.yaml", "apiVersion: v1\nkind: Service\nmetadata: [\n");
    EXPECT_FALSE(status_when([](const json& s) { return has_problem(s, "web.yaml:"); }).is_null());
    fs::remove(broken);
    EXPECT_FALSE(status_when([](const json& s) { return !has_problem(s, "web.yaml:"); }).is_null());
  }
  ::kill(gateway, SIGTERM);
  EXPECT_EQ(finish(gateway).exit_code, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

// Under a kernel's limit that leaves the gateway no descriptor for a client.
TEST_F(WaitingGatewayTest, AnswersWithoutADescriptorLeftAndSaysSo) {
  const pid_t gateway = start({"run", "-c", write_config().string()});
  ASSERT_FALSE(status_when([](const json& s) { return s["hub"]["synced"] == true; }).is_null());
  rlimit limit{};
  ASSERT_EQ(::prlimit(gateway, RLIMIT_NOFILE, nullptr, &limit), 0);
  std::set<rlim_t> open;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(gateway) + "/fd")) {
    open.insert(std::stoul(entry.path().filename().string()));
  }
  rlim_t lowest = 0;
  while (open.count(lowest) != 0) {
    ++lowest;
  }
  limit.rlim_cur = lowest;
  ASSERT_EQ(::prlimit(gateway, RLIMIT_NOFILE, &limit, nullptr), 0);
  EXPECT_FALSE(status_when([](const json& s) { return has_problem(s, "no file descriptor left"); }).is_null());
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(isthmus({"status"}).exit_code, 0);
  }
  ::kill(gateway, SIGTERM);
  EXPECT_EQ(finish(gateway).exit_code, 0);
}

constexpr const char* kOwnObjects =
    "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: east}\n"
    "spec: {id: 1, podCIDRs: [10.1.0.0/16]}\n---\n"
    "apiVersion: isthmus.io/v1alpha1\nkind: Gateway\nmetadata: {name: east-1}\n"
    "spec: {cluster: east, underlayAddress: 192.0.2.1}\n";

TEST_F(WaitingGatewayTest, WithoutItsDeviceEndsWithExitCodeOneAndAFix) {
  write("hub/fleet/fleet.yaml", kOwnObjects);
  const Outcome outcome = finish(start({"run", "-c", write_config().string()}));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "ist-none") || ::geteuid() != 0) << outcome.err;
}

// It tries every 5 s.
TEST_F(WaitingGatewayTest, ThatCannotStartWithWhatItKnewLastIsOneProblemForAsLongAsItLasts) {
  const fs::path config = write_config();
  write("hub/fleet/fleet.yaml", kOwnObjects);
  EXPECT_EQ(finish(start({"run", "-c", config.string()})).exit_code, 1);
  fs::remove(folder_ / "hub/fleet/fleet.yaml");
  const pid_t gateway = start({"run", "-c", config.string()});
  EXPECT_FALSE(status_when([](const json& s) {
                 for (const json& problem : s["problems"]) {
                   if (contains(problem.dump(), "this gateway cannot start") && problem["since_ms"] > 7'000) {
                     return true;
                   }
                 }
                 return false;
               }).is_null());
  ::kill(gateway, SIGTERM);
  const Outcome outcome = finish(gateway);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string told = "this gateway cannot start";
  EXPECT_EQ(outcome.err.find(told), outcome.err.rfind(told)) << outcome.err;
}

}  // namespace
}  // namespace isthmus
