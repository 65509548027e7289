// How a server is reached: several addresses, an HTTP proxy, an intermediate authority.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/source/kubernetes/dial.h"
#include "test/unit/source/kubernetes/follow.h"

namespace isthmus {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Tcp = boost::asio::ip::tcp;

sockaddr_in loopback(const char* address, std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  inet_pton(AF_INET, address, &at.sin_addr);
  return at;
}

class Listener {
 public:
  Listener(const char* address, int backlog) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = loopback(address, 0);
    socklen_t length = sizeof at;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&at), length), 0);
    EXPECT_EQ(listen(fd_, backlog), 0);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &length);
    endpoint_ = Tcp::endpoint(boost::asio::ip::make_address(address), ntohs(at.sin_port));
  }
  ~Listener() {
    for (const int fd : waiting_) {
      ::close(fd);
    }
    ::close(fd_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // Fills its queue, so that the kernel answers nothing to further connections.
  void fall_silent() {
    for (bool full = false; !full;) {
      const int fd = waiting_.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const sockaddr_in at = loopback(endpoint_.address().to_string().c_str(), endpoint_.port());
      (void)!connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at);
      pollfd connected{fd, POLLOUT, 0};
      full = ::poll(&connected, 1, 300) == 0;
    }
  }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const Tcp::endpoint& endpoint() const { return endpoint_; }

 private:
  int fd_;
  Tcp::endpoint endpoint_;
  std::vector<int> waiting_;
};

struct Dialled {
  boost::system::error_code error;
  Tcp::endpoint to;
};
Dialled dial(const std::vector<Tcp::endpoint>& addresses, std::chrono::milliseconds deadline) {
  boost::asio::io_context io;
  Dialled out;
  std::make_shared<Dial>(io, addresses, deadline, [&](boost::system::error_code error, Tcp::socket socket) {
    boost::system::error_code none;
    out = {error, error ? Tcp::endpoint() : socket.remote_endpoint(none)};
  })->start();
  io.run();
  return out;
}

TEST(DialTest, ASilentAddressDoesNotKeepTheOthersWaiting) {
  Listener silent("127.0.0.2", 0);
  const Listener other("127.0.0.1", 8);
  silent.fall_silent();
  const Dialled out = dial({silent.endpoint(), other.endpoint()}, std::chrono::hours(1));
  EXPECT_FALSE(out.error) << out.error.message();
  EXPECT_EQ(out.to, other.endpoint());
}

TEST(DialTest, TheNextAddressIsTriedWhereOneRefuses) {
  Tcp::endpoint closed;
  { closed = Listener("127.0.0.2", 1).endpoint(); }
  const Listener other("127.0.0.1", 8);
  EXPECT_EQ(dial({closed, other.endpoint()}, std::chrono::hours(1)).to, other.endpoint());
  EXPECT_EQ(dial({closed, closed}, std::chrono::hours(1)).error, boost::asio::error::connection_refused);
}

TEST(DialTest, EachAddressHasItsDeadline) {
  Listener silent("127.0.0.2", 0);
  silent.fall_silent();
  const Dialled out = dial({silent.endpoint(), silent.endpoint()}, std::chrono::milliseconds(50));
  EXPECT_EQ(out.error, boost::asio::error::timed_out);
}

// Answers CONNECT, one connection after the other, and passes on what both ends send; or refuses.
class ConnectProxy {
 public:
  explicit ConnectProxy(std::string answer) : answer_(std::move(answer)), thread_([this] { run(); }) {}
  ~ConnectProxy() {
    stopping_ = true;
    thread_.join();
    for (std::thread& each : threads_) {
      each.join();
    }
  }
  ConnectProxy(const ConnectProxy&) = delete;
  ConnectProxy& operator=(const ConnectProxy&) = delete;
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(listener_.endpoint().port()); }
  [[nodiscard]] std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void run() {
    while (!stopping_) {
      pollfd waiting{listener_.fd(), POLLIN, 0};
      if (::poll(&waiting, 1, 50) == 1) {
        threads_.emplace_back([this, fd = accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC)] { serve(fd); });
      }
    }
  }
  void serve(int client) {
    std::string request;
    char byte = 0;
    while (!request.ends_with("\r\n\r\n") && recv(client, &byte, 1, 0) == 1) {
      request += byte;
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    (void)!send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    if (answer_.find(" 200 ") != std::string::npos) {
      const std::string target = request.substr(8, request.find(' ', 8) - 8);
      const sockaddr_in at =
          loopback("127.0.0.1", static_cast<std::uint16_t>(std::stoul(target.substr(target.find(':') + 1))));
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (connect(server, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) {
        pass(client, server);
      }
      ::close(server);
    }
    ::close(client);
  }
  void pass(int one, int other) {
    std::array<char, 16384> buffer{};
    while (!stopping_) {
      std::array<pollfd, 2> ends{pollfd{one, POLLIN, 0}, pollfd{other, POLLIN, 0}};
      ::poll(ends.data(), ends.size(), 50);
      for (const auto& [from, to] : {std::pair{0, other}, std::pair{1, one}}) {
        if ((ends[static_cast<std::size_t>(from)].revents & (POLLIN | POLLHUP)) != 0) {
          const ssize_t got = recv(ends[static_cast<std::size_t>(from)].fd, buffer.data(), buffer.size(), 0);
          if (got <= 0 || send(to, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) {
            return;
          }
        }
      }
    }
  }

  const std::string answer_;
  Listener listener_{"127.0.0.1", 64};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<std::thread> threads_;
  std::thread thread_;
};

class ReachedServer : public testing::Test {
 protected:
  void start(ApiServer& server, const json& cluster) {
    server.serve_cluster_kinds();
    options.cluster = "east";
    options.server.times = short_times();
    folder.write("ca.crt", server.authority().certificate());
    json with{{"certificate-authority", "ca.crt"}};
    with.update(cluster);
    folder.write("config", server.kubeconfig({{"token", "t"}}, with));
    options.server.kubeconfig = folder.path("config");
    source.emplace(options);
    const auto started = source->start();
    ASSERT_TRUE(started) << started.error().text();
    hub.emplace(*source);
  }
  TemporaryFolder folder;
  KubernetesSourceOptions options;
  std::optional<KubernetesSource> source;
  std::optional<Follower> hub;
};

TEST_F(ReachedServer, IsTrustedByAnIntermediateAuthority) {
  ApiServerConfig config;
  config.intermediate = true;
  ApiServer server(config);
  start(server, json::object());
  EXPECT_TRUE(hub->until_synced()) << hub->state("services").last_error;
}

TEST_F(ReachedServer, IsReachedThroughAProxy) {
  ApiServer server;
  ConnectProxy proxy("HTTP/1.1 200 Connection established\r\n\r\n");
  start(server, {{"proxy-url", "http://user:secret@" + proxy.address()}});
  EXPECT_TRUE(hub->until_synced()) << hub->state("services").last_error;
  const std::string request = proxy.requests().at(0);
  EXPECT_THAT(request, testing::StartsWith("CONNECT " + server.url().substr(8) + " HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"));
  source.reset();
}

TEST_F(ReachedServer, IsNotReachedThroughAProxyThatRefuses) {
  ApiServer server;
  ConnectProxy proxy("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  start(server, {{"proxy-url", "http://" + proxy.address()}});
  EXPECT_TRUE(hub->until([&] { return hub->state("services").last_error.find("407") != std::string::npos; }))
      << hub->state("services").last_error;
  EXPECT_THAT(hub->state("services").last_error, HasSubstr("the proxy 127.0.0.1 refuses"));
  EXPECT_TRUE(server.requests().empty());
  source.reset();
}

}  // namespace
}  // namespace isthmus
