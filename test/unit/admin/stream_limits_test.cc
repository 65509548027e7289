// What clients of the admin socket and of the metrics cannot do to the server: time limits, and a process that has no
// file descriptor left (under a real limit of the kernel's).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "control/admin/server.h"
#include "control/observe/http_server.h"
#include "test/support/admin_socket_fixture.h"
#include "test/support/loop_thread.h"

namespace isthmus {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLarge = std::size_t{8} << 20;  // more than a socket holds

// A client's socket. Made before it is connected, so that connecting needs no descriptor.
class Client {
 public:
  explicit Client(int family = AF_UNIX) : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval timeout{30, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Client& connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    return *this;
  }
  Client& connect(L4Port port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port.value());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    return *this;
  }
  // False: the server has closed.
  bool send(const std::string& text) {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  std::string read_line() {
    std::string text;
    char c = 0;
    while (::recv(fd_, &c, 1, 0) == 1 && c != '\n') {
      text += c;
    }
    return text;
  }
  // Until the server closes.
  std::string read_all() {
    std::string text;
    std::vector<char> chunk(65536);
    for (ssize_t got = 0; (got = ::recv(fd_, chunk.data(), chunk.size(), 0)) > 0;) {
      text.append(chunk.data(), static_cast<std::size_t>(got));
    }
    return text;
  }
  [[nodiscard]] bool readable() const {
    char c = 0;
    return ::recv(fd_, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
  }
  void leave() { ::shutdown(fd_, SHUT_RDWR); }

 private:
  int fd_;
};

class StreamLimitsTest : public AdminSocketFixture {
 protected:
  void TearDown() override {
    thread_.stop();
    admin_.reset();
    http_.reset();
    AdminSocketFixture::TearDown();
  }

  // "large" is answered with kLarge bytes, "large later" with an answer of that size that is awaited, "follow" with a
  // feed of the numbers from 1 to last_, others with themselves.
  void serve() {
    auto admin = AdminServer::listen(
        thread_.loop(), options_,
        [this](std::string_view request) -> AdminAnswer {
          if (request == "follow") {
            return {"begin", [this, next = 0]() mutable -> std::optional<std::string> {
                      return next < last_ ? std::to_string(++next) + "\n" : std::string();
                    }};
          }
          if (request == "large later") {
            return Awaited<std::string>(std::make_shared<const std::optional<std::string>>(std::string(kLarge, 'x')));
          }
          return request == "large" ? std::string(kLarge, 'x') : "<" + std::string(request) + ">";
        },
        [this](const std::optional<Error>& problem) { problems_.push_back(problem ? problem->text() : "none"); });
    ASSERT_TRUE(admin.ok()) << admin.error().text();
    admin_ = std::move(*admin);
    HttpOptions http;
    http.address = *IpAddress::parse("127.0.0.1");
    http.limits.request_time = options_.limits.request_time;
    http.limits.idle_time = options_.limits.idle_time;
    auto metrics = HttpServer::listen(thread_.loop(), http, [](std::string_view, std::string_view) {
      return page_of(HttpPage{"text/plain", "x"});
    });
    ASSERT_TRUE(metrics.ok()) << metrics.error().text();
    http_ = std::move(*metrics);
    thread_.start();
  }
  [[nodiscard]] StreamCounts counts() {
    return thread_.do_now([this] { return admin_->counts(); });
  }
  // Waits until it holds in the loop's thread; false after a minute.
  bool until(const std::function<bool()>& holds) {
    for (int i = 0; i < 6000; ++i) {
      if (thread_.do_now(holds)) {
        return true;
      }
      ::usleep(10'000);
    }
    return false;
  }

  LoopThread thread_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<HttpServer> http_;
  int last_ = 0;                       // of the loop's thread, as are the next
  std::vector<std::string> problems_;  // in the order of their reports
};

TEST_F(StreamLimitsTest, HalfARequestIsEndedWithItsReason) {
  options_.limits.request_time = 50ms;
  serve();
  Client client;
  client.connect(options_.path).send("hal");
  EXPECT_NE(client.read_all().find("no line end after 50 ms"), std::string::npos);
  Client browser(AF_INET);
  browser.connect(http_->port()).send("GET /metr");
  EXPECT_EQ(browser.read_all().rfind("HTTP/1.1 408 ", 0), 0U);
  EXPECT_EQ(counts().late, 1U);
}

TEST_F(StreamLimitsTest, ARequestInSmallPiecesGetsNoMoreTimeForIt) {
  options_.limits.request_time = 50ms;
  serve();
  Client client;
  client.connect(options_.path);
  while (client.send("x") && !client.readable()) {
    ::usleep(1000);
  }
  EXPECT_NE(client.read_all().find("no line end"), std::string::npos);
}

TEST_F(StreamLimitsTest, AClientThatDoesNotTakeItsAnswerIsDropped) {
  options_.limits.answer_time = 50ms;
  serve();
  for (const char* request : {"large\n", "large later\n"}) {
    const std::uint64_t before = counts().late;
    Client client;
    client.connect(options_.path).send(request);
    EXPECT_TRUE(until([&] { return admin_->counts().late == before + 1 && admin_->clients() == 0; })) << request;
    EXPECT_LT(client.read_all().size(), kLarge) << request;
  }
}

TEST_F(StreamLimitsTest, AClientThatIsBeingAnsweredDoesNotMakeRoomForAnotherWhileOneIsIdle) {
  options_.limits.clients = 2;
  serve();
  Client reader, idle, newcomer;
  reader.connect(options_.path).send("large\n");
  while (!reader.readable()) {  // its answer has begun: what follows is later
    ::usleep(1000);
  }
  EXPECT_TRUE(idle.connect(options_.path).send("one\n"));
  EXPECT_EQ(idle.read_line(), "<one>");
  EXPECT_TRUE(newcomer.connect(options_.path).send("two\n"));
  EXPECT_EQ(newcomer.read_line(), "<two>");
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_EQ(reader.read_line().size(), kLarge);
}

TEST_F(StreamLimitsTest, AnIdleConnectionEndsWithoutAWord) {
  options_.limits.idle_time = 50ms;
  serve();
  Client client, browser(AF_INET);
  EXPECT_TRUE(client.connect(options_.path).send("one\n"));
  EXPECT_EQ(client.read_line(), "<one>");
  EXPECT_EQ(client.read_all(), "");
  EXPECT_EQ(browser.connect(http_->port()).read_all(), "");
  EXPECT_EQ(counts().late, 0U);
}

TEST_F(StreamLimitsTest, AFollowerMayWaitForLinesAsLongAsItLikes) {
  options_.limits.idle_time = 50ms;
  options_.limits.request_time = 50ms;
  serve();
  Client follower;
  follower.connect(options_.path).send("follow\nand a part of the next");
  EXPECT_EQ(follower.read_line(), "begin");
  Client idle;  // comes later and is dropped: the time limit has passed for both
  EXPECT_EQ(idle.connect(options_.path).read_all(), "");
  thread_.do_now([this] {
    last_ = 1;
    admin_->feed_clients();
  });
  EXPECT_EQ(follower.read_line(), "1");
}

TEST_F(StreamLimitsTest, AFollowerThatDoesNotTakeItsLinesIsDropped) {
  options_.limits.feed_time = 50ms;
  serve();
  Client follower;
  follower.connect(options_.path).send("follow\n");
  EXPECT_EQ(follower.read_line(), "begin");
  thread_.do_now([this] {
    last_ = 1'000'000;
    admin_->feed_clients();
  });
  EXPECT_TRUE(until([this] { return admin_->counts().late == 1 && admin_->clients() == 0; }));
}

// Takes all descriptors that the process may have.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    taken_.push_back(next);
    allow(static_cast<rlim_t>(next) + 20);
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
      taken_.push_back(fd);
    }
    EXPECT_EQ(errno, EMFILE);
  }
  ~NoDescriptors() { release(); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

  // Those that are open stay; no new one has a number from `count` on.
  void allow(rlim_t count) const {
    const rlimit limit{count, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0) << std::strerror(errno);
  }
  void release() {
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0);
    for (const int fd : taken_) {
      ::close(fd);
    }
    taken_.clear();
  }

 private:
  rlimit before_{};
  std::vector<int> taken_;
};

TEST_F(StreamLimitsTest, WithNoDescriptorLeftClientsAreAnsweredOneAtATimeAndItIsAProblem) {
  options_.limits.shortage_check = 20ms;
  serve();
  std::vector<Client> clients(5);
  Client browser(AF_INET);
  NoDescriptors none;
  for (Client& client : clients) {
    ASSERT_TRUE(client.connect(options_.path).send("status\n"));
    EXPECT_EQ(client.read_line(), "<status>");
    client.leave();  // keeps its descriptor
    EXPECT_TRUE(until([this] { return admin_->clients() == 0; }));
  }
  const std::string problem = thread_.do_now([this] { return problems_.empty() ? "" : problems_.front(); });
  EXPECT_NE(problem.find("no file descriptor left"), std::string::npos) << problem;
  EXPECT_NE(problem.find("LimitNOFILE"), std::string::npos) << problem;
  EXPECT_NE(problem.find(options_.path), std::string::npos) << problem;
  browser.connect(http_->port()).send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(browser.read_all().rfind("HTTP/1.1 200 ", 0), 0U);
  none.release();
  EXPECT_TRUE(until([this] { return problems_.back() == "none"; }));
}

TEST_F(StreamLimitsTest, WithNoDescriptorLeftAnIdleClientMakesRoom) {
  serve();
  Client first, second;
  const NoDescriptors none;
  EXPECT_TRUE(first.connect(options_.path).send("one\n"));
  EXPECT_EQ(first.read_line(), "<one>");
  EXPECT_TRUE(second.connect(options_.path).send("two\n"));
  EXPECT_EQ(second.read_line(), "<two>");
  EXPECT_EQ(first.read_all(), "");
}

TEST_F(StreamLimitsTest, WhereEvenTheReserveIsGoneTheServerPausesInsteadOfSpinning) {
  options_.limits.accept_pause = 10ms;
  serve();
  Client client;
  NoDescriptors none;
  none.allow(3);
  const auto turns = thread_.turns();
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(client.connect(options_.path).send("status\n"));
  ASSERT_TRUE(until([this] { return admin_->counts().pauses >= 20; }));
  const StreamCounts seen = counts();
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_GE(took, (seen.pauses - 1) * options_.limits.accept_pause);
  EXPECT_LE(seen.no_descriptor, seen.pauses + 1);
  EXPECT_EQ(seen.accepted, 0U);
  // Each pause is a turn for the timer and one for the socket; the questions of this test are turns, too.
  EXPECT_LE(thread_.turns() - turns, 10 * seen.pauses + static_cast<std::uint64_t>(took / 5ms));
  none.release();
  EXPECT_EQ(client.read_line(), "<status>");
}

}  // namespace
}  // namespace isthmus
