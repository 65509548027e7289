// A TCP proxy from a loopback port to another one. It can be frozen: it stops reading then, so that data backs up at
// the sender, as with a peer that no longer reads. Threads: one of its own; methods may be called from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <thread>

namespace isthmus {

class TcpProxy {
 public:
  explicit TcpProxy(std::uint16_t target);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] unsigned connections() const { return accepted_; }  // accepted since start
  void freeze() { frozen_ = true; }
  void resume() { frozen_ = false; }

 private:
  struct Pair {
    int client = -1, server = -1;
  };
  void run();
  void accept_one();

  std::uint16_t target_, port_ = 0;
  int listener_ = -1;
  std::atomic<bool> frozen_{false}, stopping_{false};
  std::atomic<unsigned> accepted_{0};
  std::list<Pair> pairs_;
  std::thread thread_;
};

}  // namespace isthmus
