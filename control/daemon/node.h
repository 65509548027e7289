// What one gateway holds of its node: the kernel's side, the devices, the engine. Made once at start, in the order
// local device → devices → engine.
// Owner: the Gateway. Thread: control. Failure: an error with its remedy; nothing made on the node is taken back, the
// next start adopts it.
#pragma once

#include <memory>
#include <string>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/kernel/kernel.h"
#include "dataplane/api/engine.h"

namespace isthmus {

struct Node {
  std::unique_ptr<Kernel> kernel;
  std::unique_ptr<Engine> engine;
  DeviceId underlay{0}, local{0};       // equal when one device serves both sides
  std::vector<std::string> interfaces;  // that the engine receives from, by device id
  LinkState underlay_link;
  // Only with a veth pair of ours: its kernel end.
  std::optional<LinkState> kernel_end;

  [[nodiscard]] bool one_device() const { return underlay == local; }
};

// Starts the engine; it takes packets once tables are published.
[[nodiscard]] Result<Node> bring_up(const GatewayConfig& config, const OwnGateway& own);

// The local device as the configuration wants it.
[[nodiscard]] LocalDeviceOptions local_device_options(const GatewayConfig& config, Bytes underlay_mtu);
[[nodiscard]] EngineOptions engine_options(const GatewayConfig& config, const OwnGateway& own);

}  // namespace isthmus
