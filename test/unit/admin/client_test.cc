// The admin client against a server that is slow to read and to answer.
#include "control/admin/client.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

namespace isthmus {
namespace {

using std::chrono::milliseconds;

// Takes one connection, waits, reads a line, waits, answers "ok".
void serve_slowly(int listener) {
  const int fd = ::accept(listener, nullptr, nullptr);
  std::this_thread::sleep_for(milliseconds(100));
  std::string chunk(65536, '\0');
  for (ssize_t got = 0; (got = ::recv(fd, chunk.data(), chunk.size(), 0)) > 0;) {
    if (chunk[static_cast<std::size_t>(got) - 1] == '\n') {
      break;
    }
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(::send(fd, "ok\n", 3, MSG_NOSIGNAL), 3);
  ::close(fd);
}

// A listening socket of a folder of its own.
class Listener {
 public:
  Listener() {
    EXPECT_NE(::mkdtemp(name_), nullptr);
    path_ = std::string(name_) + "/gw.sock";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 1), 0);
  }
  ~Listener() {
    ::close(fd_);
    std::filesystem::remove_all(name_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  char name_[sizeof "/tmp/ist-client-XXXXXX"] = "/tmp/ist-client-XXXXXX";
  int fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string path_;
};

// Takes one connection and sends for as long as anybody reads, without ever ending the line.
void serve_without_end(int listener) {
  const int fd = ::accept(listener, nullptr, nullptr);
  const std::string chunk(65536, 'x');
  while (::send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0) {
  }
  ::close(fd);
}

TEST(AdminClient, AnAnswerWithoutAnEndIsNotReadForEver) {
  for (const bool lines : {false, true}) {
    const Listener listener;
    std::thread server([&] { serve_without_end(listener.fd()); });
    const Status status =
        lines ? ask_gateway_for_lines(listener.path(), "{}", [](std::string_view) { return true; }) : [&] {
          const auto answer = ask_gateway(listener.path(), "{}");
          return answer.ok() ? Status(Ok{}) : Status(answer.error());
        }();
    server.join();
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().text().find("longer than any"), std::string::npos) << status.error().text();
  }
}

TEST(AdminClient, SignalsEndNeitherTheSendingNorTheWaiting) {
  const Listener listener;
  std::thread server([&] { serve_slowly(listener.fd()); });

  struct sigaction act {
  }, before{};
  act.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &act, &before), 0);
  std::atomic<bool> done{false};
  std::thread interrupter([&done, client = ::pthread_self()] {
    while (!done) {
      ::pthread_kill(client, SIGUSR1);
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  // More than a socket holds, so that the client waits to send the rest.
  const auto answer = ask_gateway(listener.path(), std::string(std::size_t{8} << 20, 'x'));
  done = true;
  interrupter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  server.join();
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_EQ(*answer, "ok");
}

}  // namespace
}  // namespace isthmus
