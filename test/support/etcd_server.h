// A real etcd server for a test, on free loopback ports, with mutual TLS, authentication, and the users, roles and
// grants of a ClusterMesh hub. Stopped by the destructor. Thread: the test's. Failure: throws, so that the test fails.
//
// Setting up the users takes a second; it is done once for each combination of Options, and later servers start from a
// copy of that data directory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "test/support/test_pki.h"

namespace isthmus {

// The certificate authority of all servers and clients in a test program.
[[nodiscard]] const TestPki& etcd_pki();
// False if etcd or etcdctl is not installed.
[[nodiscard]] bool etcd_installed();

class EtcdServer {
 public:
  struct Options {
    std::string cluster = "west";  // the role "remote" may read its configuration
    std::string token = "first";   // determines the etcd's cluster id
  };
  EtcdServer() : EtcdServer(Options{}) {}
  explicit EtcdServer(const Options& options);
  ~EtcdServer();
  EtcdServer(const EtcdServer&) = delete;
  EtcdServer& operator=(const EtcdServer&) = delete;

  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::uint16_t port() const { return static_cast<std::uint16_t>(port_); }
  // Requests as root.
  void put(const std::string& key, const std::string& value) const;
  void put(const std::vector<std::pair<std::string, std::string>>& keys) const;
  void remove(const std::string& key) const;
  void remove_prefix(const std::string& prefix) const;
  [[nodiscard]] std::string get(const std::string& key) const;  // empty if there is none
  [[nodiscard]] std::int64_t lease_of(const std::string& key) const;
  void revoke(std::int64_t lease) const;
  void compact() const;  // at the current revision
  // The sum of the metrics whose line starts with `begin`.
  [[nodiscard]] double metric(const std::string& begin) const;

  void stop();  // SIGKILL
  // Starts again with the same data.
  void start();
  // Starts again without data; `token` as in Options.
  void start_empty(const std::string& token);
  void pause();  // SIGSTOP: stops answering, connections stay open
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
