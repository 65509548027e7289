// A real etcd of a test's own: one server on free loopback ports, mutual TLS, authentication on, and the users, roles
// and grants of a ClusterMesh hub. Ends with the object. Thread: the test's. Failure: throws, so that the test fails.
//
// Setting up users takes a second, so it is done once for each kind of server; others start from a copy of that data.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "test/support/test_pki.h"

namespace isthmus {

// The authority of all servers and clients of a test program.
[[nodiscard]] const TestPki& etcd_pki();
// False when etcd or etcdctl is not installed.
[[nodiscard]] bool etcd_installed();

class EtcdServer {
 public:
  struct Options {
    std::string cluster = "west";  // whose hub: the role "remote" may read its configuration
    std::string token = "first";   // another token makes an etcd of another cluster id
  };
  EtcdServer() : EtcdServer(Options{}) {}
  explicit EtcdServer(const Options& options);
  ~EtcdServer();
  EtcdServer(const EtcdServer&) = delete;
  EtcdServer& operator=(const EtcdServer&) = delete;

  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::uint16_t port() const { return static_cast<std::uint16_t>(port_); }
  // As root.
  void put(const std::string& key, const std::string& value) const;
  void put(const std::vector<std::pair<std::string, std::string>>& keys) const;
  void remove(const std::string& key) const;
  void remove_prefix(const std::string& prefix) const;
  [[nodiscard]] std::string get(const std::string& key) const;  // empty when there is none
  [[nodiscard]] std::int64_t lease_of(const std::string& key) const;
  void revoke(std::int64_t lease) const;
  void compact() const;  // everything before now
  // The sum of its metrics that begin so.
  [[nodiscard]] double metric(const std::string& begin) const;

  void stop();  // at once
  // Again, with the data it had.
  void start();
  // With none of it; `token` as in Options.
  void start_empty(const std::string& token);
  void pause();  // it answers nothing more, and its connections stay open
  void resume();

 private:
  struct Stub;
  void spawn();
  void wait_until_ready();
  void connect();

  Options options_;
  std::string folder_;
  unsigned port_ = 0, peer_port_ = 0;
  pid_t pid_ = -1;
  std::unique_ptr<Stub> stub_;
};

}  // namespace isthmus
