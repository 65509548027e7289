// Registers this gateway in a hub that grants us write access: a key with a lease, so that it disappears after we stop.
//
// Owner: control/daemon. Thread: control for its methods, none of which blocks; a thread of its own keeps the lease.
// Failure: after a lost lease, a new one is granted and the key is written again; after a lost connection, a new one is
// made with the certificates then on disk. Destruction does not delete the key: others do not notice a gateway that
// restarts before the lease expires.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "config/model/defaults.h"
#include "control/source/etcd/values.h"

namespace isthmus {

struct EtcdRegistrationOptions {
  std::string config_file;  // an etcd client configuration whose user may write cilium/state/isthmus/
  std::string cluster;      // ours
  GatewayValue gateway;     // us
  std::chrono::seconds ttl{kGatewayLeaseMs / 1000};
  std::chrono::milliseconds backoff_step{1000}, max_backoff{30'000}, call_timeout{10'000};
};

class EtcdRegistration {
 public:
  explicit EtcdRegistration(EtcdRegistrationOptions options);
  ~EtcdRegistration();
  EtcdRegistration(const EtcdRegistration&) = delete;
  EtcdRegistration& operator=(const EtcdRegistration&) = delete;

  void start();
  // True if the key was written and its lease is being renewed.
  [[nodiscard]] bool registered() const;
  // Why it is not registered; empty while registered and before the first attempt has finished.
  [[nodiscard]] std::string last_error() const;
  [[nodiscard]] const std::string& key() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus
