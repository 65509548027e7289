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

TEST(AdminClient, SignalsEndNeitherTheSendingNorTheWaiting) {
  char name[] = "/tmp/ist-client-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  const std::string path = std::string(name) + "/gw.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  std::thread server([&] { serve_slowly(listener); });

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
  const auto answer = ask_gateway(path, std::string(std::size_t{8} << 20, 'x'));
  done = true;
  interrupter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  server.join();
  ::close(listener);
  std::filesystem::remove_all(name);
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_EQ(*answer, "ok");
}

}  // namespace
}  // namespace isthmus
