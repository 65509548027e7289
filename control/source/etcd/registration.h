// Our own gateway's registration in a hub that lets us write: a key under a lease, so that it goes when we do.
//
// Owner: control/daemon. Thread: control for its methods, none of which waits; one thread of its own. When the lease is
// lost it is granted anew and the key put again; when the hub is, a new connection is made with the certificates then
// on disk. Destruction leaves the key to its lease: a gateway that restarts at once was never gone to others.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "control/source/etcd/values.h"

namespace isthmus {

struct EtcdRegistrationOptions {
  std::string config_file;  // an etcd client configuration whose user may write cilium/state/isthmus/
  std::string cluster;      // ours
  GatewayValue gateway;     // us
  std::chrono::seconds ttl{60};
  std::chrono::milliseconds backoff_step{1000}, longest_backoff{30'000}, call_timeout{10'000};
};

class EtcdRegistration {
 public:
  explicit EtcdRegistration(EtcdRegistrationOptions options);
  ~EtcdRegistration();
  EtcdRegistration(const EtcdRegistration&) = delete;
  EtcdRegistration& operator=(const EtcdRegistration&) = delete;

  void start();
  // The key stands, as far as we know.
  [[nodiscard]] bool registered() const;
  // Why it does not; empty while it does, and before the first attempt has ended.
  [[nodiscard]] std::string last_error() const;
  [[nodiscard]] const std::string& key() const;

 private:
  class Keeper;
  std::unique_ptr<Keeper> keeper_;
};

}  // namespace isthmus
