// Keeps the gateway's devices in use while the node changes under them, and says what keeps them from it.
//
// The engine puts back a steer program that another program took off, follows MAC and MTU, and takes interfaces into
// use that were made anew; here, our own veth pair is made again when it was removed, its MTU follows the underlay's,
// and the reverse-path filter of the underlay is kept loose. Owner and thread: control only. Failure: problems with
// their fix.
#pragma once

#include <vector>

#include "config/model/gateway_config.h"
#include "control/daemon/node.h"

namespace isthmus {

class DeviceWatch {
 public:
  // Both must outlive this.
  DeviceWatch(const GatewayConfig& config, const OwnGateway& own, Node& node)
      : config_(config), own_(own), node_(node) {}

  // Call it a few times a second, and when a link changed.
  void check();
  // As of the last check().
  [[nodiscard]] const std::vector<Error>& problems() const { return problems_; }

 private:
  void keep_local_device();
  void keep_reverse_path();

  const GatewayConfig& config_;
  const OwnGateway own_;
  Node& node_;
  std::vector<Error> problems_;
};

}  // namespace isthmus
