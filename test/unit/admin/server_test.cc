// The admin server on a real Unix socket, with real clients in the same process.
#include "control/admin/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "control/admin/client.h"
#include "control/admin/replies.h"
#include "control/admin/request.h"
#include "test/support/admin_socket_fixture.h"
#include "test/support/loop_thread.h"

namespace isthmus {
namespace {

class AdminServerTest : public AdminSocketFixture {
 protected:
  void TearDown() override {
    stop();
    AdminSocketFixture::TearDown();
  }

  void serve(AdminServer::Handler handler) {
    auto server = AdminServer::listen(thread_.loop(), options_, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.error().text();
    server_ = std::move(*server);
    thread_.start();
  }
  void stop() {
    thread_.stop();
    server_.reset();
  }
  void feed() {
    thread_.do_now([this] { server_->feed_clients(); });
  }

  [[nodiscard]] int connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, options_.path.c_str(), sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    const timeval timeout{10, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return fd;
  }
  static void send_text(int fd, const std::string& text) {
    ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // Everything until the server closes, or nothing comes within the socket's timeout.
  static std::string read_all(int fd) {
    std::string text;
    char chunk[65536];
    for (ssize_t got = 0; (got = ::recv(fd, chunk, sizeof chunk, 0)) > 0;) {
      text.append(chunk, static_cast<std::size_t>(got));
    }
    return text;
  }
  static std::string read_line(int fd) {
    std::string text;
    char c = 0;
    while (::recv(fd, &c, 1, 0) == 1 && c != '\n') {
      text += c;
    }
    return text;
  }

  LoopThread thread_;
  std::unique_ptr<AdminServer> server_;
};

std::string shout(std::string_view request) { return "<" + std::string(request) + ">"; }

TEST_F(AdminServerTest, AnswersTheClientOfTheCommandLine) {
  serve(shout);
  const auto answer = ask_gateway(options_.path, "hello");
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_EQ(*answer, "<hello>");
}

TEST_F(AdminServerTest, OnlyRootAndTheGroupMayOpenTheSocket) {
  serve(shout);
  struct stat info {};
  ASSERT_EQ(::stat(options_.path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 07777, 0660u);
  EXPECT_EQ(info.st_gid, ::getegid());
}

TEST_F(AdminServerTest, SeveralLinesOnOneConnectionAreAnsweredInOrder) {
  serve(shout);
  const int fd = connect();
  send_text(fd, "one\ntwo\nthr");
  EXPECT_EQ(read_line(fd), "<one>");
  EXPECT_EQ(read_line(fd), "<two>");
  send_text(fd, "ee\n");
  EXPECT_EQ(read_line(fd), "<three>");
  ::close(fd);
}

TEST_F(AdminServerTest, ALastLineWithoutLineEndIsAnsweredBeforeClosing) {
  serve(shout);
  const int fd = connect();
  send_text(fd, "one\ntwo");
  ::shutdown(fd, SHUT_WR);
  EXPECT_EQ(read_all(fd), "<one>\n<two>\n");
  ::close(fd);
}

TEST_F(AdminServerTest, ARequestBeyondTheBoundIsRefusedAndItsClientDropped) {
  options_.limits.request = 1000;
  serve(shout);
  const int fd = connect();
  send_text(fd, std::string(5000, 'x'));
  const std::string answer = read_all(fd);
  EXPECT_NE(answer.find("\"ok\":false"), std::string::npos) << answer;
  EXPECT_NE(answer.find("1000 bytes"), std::string::npos) << answer;
  ::close(fd);
  EXPECT_TRUE(ask_gateway(options_.path, "still there").ok());
}

TEST_F(AdminServerTest, AReplyBeyondTheBoundBecomesAnErrorWithAFix) {
  options_.max_reply = 100;
  serve([](std::string_view) { return std::string(101, 'x'); });
  const auto answer = ask_gateway(options_.path, "all");
  ASSERT_TRUE(answer.ok());
  EXPECT_NE(answer->find("narrow the request"), std::string::npos) << *answer;
}

TEST_F(AdminServerTest, AClientThatDoesNotReadHoldsNobodyUp) {
  serve([](std::string_view request) { return request == "big" ? std::string(8 << 20, 'x') : std::string("small"); });
  const int slow = connect();
  send_text(slow, "big\nbig\n");
  for (int i = 0; i < 20; ++i) {
    const auto answer = ask_gateway(options_.path, "other");
    ASSERT_TRUE(answer.ok()) << answer.error().text();
    EXPECT_EQ(*answer, "small");
  }
  ::shutdown(slow, SHUT_WR);
  EXPECT_EQ(read_all(slow).size(), 2 * ((std::size_t{8} << 20) + 1));
  ::close(slow);
}

// A feed of the numbers 1 to `last`, up to 100 a call; then it ends, or has nothing for now (`follow`).
AdminServer::Handler counting(std::shared_ptr<std::atomic<int>> last, bool follow) {
  return [=](std::string_view request) -> AdminAnswer {
    if (request != "count") {
      return std::string("other");
    }
    auto next = std::make_shared<int>(1);
    return {"begin", [=]() -> std::optional<std::string> {
              if (*next > *last) {
                return follow ? std::optional<std::string>("") : std::nullopt;
              }
              std::string lines;
              for (int i = 0; i < 100 && *next <= *last; ++i) {
                lines += std::to_string((*next)++) + "\n";
              }
              return lines;
            }};
  };
}

TEST_F(AdminServerTest, AFeedFollowsItsFirstLineAndEnds) {
  serve(counting(std::make_shared<std::atomic<int>>(1000), false));
  std::vector<std::string> lines;
  const Status status = ask_gateway_for_lines(options_.path, "count", [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  });
  ASSERT_TRUE(status.ok()) << status.error().text();
  ASSERT_EQ(lines.size(), 1001u);
  EXPECT_EQ(lines.front(), "begin");
  EXPECT_EQ(lines.back(), "1000");
  // The connection can be used again.
  const int fd = connect();
  send_text(fd, "count\nother\n");
  ::shutdown(fd, SHUT_WR);
  const std::string all = read_all(fd);
  EXPECT_EQ(all.substr(all.find("{\"end\"")), "{\"end\":true}\nother\n");
  ::close(fd);
}

TEST_F(AdminServerTest, AFollowerIsFedWhenThereAreLinesAndForgottenWhenItCloses) {
  auto last = std::make_shared<std::atomic<int>>(0);
  options_.limits.clients = 4;
  serve(counting(last, true));
  const int fd = connect();
  send_text(fd, "count\n");
  EXPECT_EQ(read_line(fd), "begin");
  *last = 3;
  feed();
  EXPECT_EQ(read_line(fd), "1");
  EXPECT_EQ(read_line(fd), "2");
  EXPECT_EQ(read_line(fd), "3");
  ::close(fd);
  const auto clients = [this] { return thread_.do_now([this] { return server_->clients(); }); };
  for (int i = 0; i < 1000 && clients() != 0; ++i) {
    ::usleep(10'000);
  }
  EXPECT_EQ(clients(), 0u);
}

TEST_F(AdminServerTest, AFollowerThatDoesNotReadHoldsNobodyUpAndIsAskedForNoMore) {
  auto last = std::make_shared<std::atomic<int>>(50'000'000);
  serve(counting(last, true));
  const int slow = connect();
  send_text(slow, "count\n");
  for (int i = 0; i < 50; ++i) {
    feed();
    const auto answer = ask_gateway(options_.path, "other");
    ASSERT_TRUE(answer.ok()) << answer.error().text();
    EXPECT_EQ(*answer, "other");
  }
  ::close(slow);
}

TEST_F(AdminServerTest, AnIdleConnectionCostsNoTurnsOfTheLoop) {
  serve(shout);
  const int fd = connect();
  send_text(fd, "one\n");
  EXPECT_EQ(read_line(fd), "<one>");
  const auto before = thread_.turns();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(ask_gateway(options_.path, "x").ok());
  }
  EXPECT_LE(thread_.turns() - before, 20U * 16);
  ::close(fd);
}

TEST_F(AdminServerTest, TheIdlestClientIsEvicted) {
  options_.limits.clients = 4;
  serve(shout);
  std::vector<int> idle;
  for (int i = 0; i < 4; ++i) {
    idle.push_back(connect());
    send_text(idle.back(), "a\n");
    EXPECT_EQ(read_line(idle.back()), "<a>");
  }
  EXPECT_TRUE(ask_gateway(options_.path, "fifth").ok());
  EXPECT_EQ(read_all(idle.front()), "");
  for (const int fd : idle) {
    ::close(fd);
  }
}

TEST_F(AdminServerTest, TheSocketOfADeadProcessIsReplaced) {
  const pid_t child = ::fork();
  if (child == 0) {
    // Leaks the server on purpose: a killed process removes nothing.
    LoopThread own;
    auto server = AdminServer::listen(own.loop(), options_, shout);
    const bool ok = server.ok() && (*server).release() != nullptr;
    ::_exit(ok ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(std::filesystem::exists(options_.path));
  EXPECT_FALSE(gateway_listens(options_.path));
  serve(shout);
  EXPECT_TRUE(gateway_listens(options_.path));
  EXPECT_TRUE(ask_gateway(options_.path, "x").ok());
}

TEST_F(AdminServerTest, TheSocketOfALivingProcessIsRefused) {
  serve(shout);
  const auto second = AdminServer::listen(thread_.loop(), options_, shout);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().text().find("another process"), std::string::npos) << second.error().text();
  EXPECT_TRUE(ask_gateway(options_.path, "x").ok());
}

TEST_F(AdminServerTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(options_.path) << "precious";
  const auto server = AdminServer::listen(thread_.loop(), options_, shout);
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.error().text().find("not a socket"), std::string::npos) << server.error().text();
  std::ifstream file(options_.path);
  std::string text;
  file >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(AdminServerTest, AnUnknownGroupIsNamedWithItsFix) {
  options_.group = "no-such-group-here";
  const auto server = AdminServer::listen(thread_.loop(), options_, shout);
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.error().text().find("groupadd"), std::string::npos) << server.error().text();
}

TEST_F(AdminServerTest, AMissingFolderIsCreated) {
  options_.path = folder_ + "/run/isthmus/gw.sock";
  serve(shout);
  EXPECT_TRUE(ask_gateway(options_.path, "x").ok());
}

TEST_F(AdminServerTest, StoppingRemovesTheSocketFile) {
  serve(shout);
  EXPECT_EQ(list_gateway_sockets(folder_), std::vector<std::string>{options_.path});
  stop();
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  const auto answer = ask_gateway(options_.path, "x");
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.error().text().find("no gateway answers"), std::string::npos);
}

TEST_F(AdminServerTest, RandomBytesAreAnsweredOrDroppedAndTheServerSurvives) {
  options_.limits.request = 512;
  serve([](std::string_view line) {
    const auto request = parse_request(line);
    return request.ok() ? std::string(R"({"ok":true})") : encode_error(request.error());
  });
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const int fd = connect();
    std::string noise(random() % 2000, '\0');
    for (char& c : noise) {
      c = static_cast<char>(random());
    }
    ::send(fd, noise.data(), noise.size(), MSG_NOSIGNAL);
    if (round % 2 == 0) {
      ::shutdown(fd, SHUT_WR);
      const std::string answer = read_all(fd);
      EXPECT_TRUE(answer.empty() || answer.back() == '\n');
    }
    ::close(fd);
  }
  const auto answer = ask_gateway(options_.path, R"({"command":"status"})");
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_EQ(*answer, R"({"ok":true})");
}

TEST_F(AdminServerTest, AnAwaitedAnswerComesWhenItIsThereAndBeforeThoseAfterIt) {
  const auto later = std::make_shared<std::optional<std::string>>();
  serve([later](std::string_view line) -> AdminAnswer {
    return line == "later" ? AdminAnswer(Awaited<std::string>(later)) : AdminAnswer(std::string(line));
  });
  const int fd = connect(), other = connect();
  send_text(fd, "later\nnow\n");
  send_text(other, "other\n");
  EXPECT_EQ(read_line(other), "other");  // nobody else waits
  feed();                                // it is not there yet
  thread_.do_now([this, &later] {
    *later = "it is here";
    server_->feed_clients();
  });
  EXPECT_EQ(read_line(fd), "it is here");
  EXPECT_EQ(read_line(fd), "now");
  send_text(fd, "later\n");  // there at once
  EXPECT_EQ(read_line(fd), "it is here");
  ::close(fd);
  ::close(other);
}

TEST_F(AdminServerTest, WhoAwaitsAnAnswerIsNotTheIdlest) {
  options_.limits.clients = 2;
  const auto later = std::make_shared<std::optional<std::string>>();
  serve([later](std::string_view line) -> AdminAnswer {
    return line == "later" ? AdminAnswer(Awaited<std::string>(later)) : AdminAnswer(std::string(line));
  });
  const int waits = connect();
  send_text(waits, "later\n");
  const int idle = connect();
  send_text(idle, "idle\n");
  EXPECT_EQ(read_line(idle), "idle");
  const int third = connect();
  send_text(third, "third\n");
  EXPECT_EQ(read_line(third), "third");
  EXPECT_EQ(read_all(idle), "");  // evicted
  thread_.do_now([this, &later] {
    *later = "it is here";
    server_->feed_clients();
  });
  EXPECT_EQ(read_line(waits), "it is here");
  for (const int fd : {waits, idle, third}) {
    ::close(fd);
  }
}

TEST_F(AdminServerTest, AnAwaitedAnswerIsBoundedToo) {
  options_.max_reply = 100;
  serve([](std::string_view) -> AdminAnswer {
    return Awaited<std::string>(std::make_shared<const std::optional<std::string>>(std::string(101, 'x')));
  });
  const int fd = connect();
  send_text(fd, "anything\n");
  EXPECT_NE(read_line(fd).find("the reply would have 101 bytes"), std::string::npos);
  ::close(fd);
}

}  // namespace
}  // namespace isthmus
