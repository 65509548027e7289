// What one gateway holds of its node: the kernel connection, the devices, the engine. Brought up once at start, in the
// order local device → devices → engine.
// Owner: the Gateway. Thread: control. Failure: an error with its fix; nothing created on the node is removed, the next
// start adopts it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/daemon/standing_twins.h"
#include "control/kernel/kernel.h"
#include "dataplane/api/engine.h"

namespace isthmus {

struct Node {
  std::unique_ptr<Kernel> kernel;
  std::optional<StandingTwins> twins;
  std::unique_ptr<Engine> engine;
  DeviceId underlay{0}, local{0};       // equal when one device serves both sides
  std::vector<std::string> interfaces;  // by device id
  // Those from which the kernel would forward fleet traffic while no steer program is on them, and must not.
  std::vector<std::string> forwarding;
  // Where settled flows are handed down to; nullptr: nowhere, and why, if that is not the configuration's wish.
  std::shared_ptr<KernelFlows> kernel_flows;
  std::string no_kernel_flows;
  std::uint32_t kernel_flow_hold_ms = 0;
  bool beside = false;  // another gateway of this name runs
  // The kernel end of our veth pair, where there is one.
  std::optional<LinkState> kernel_end;

  [[nodiscard]] bool one_device() const { return underlay == local; }
};

// Returns with the engine started; it takes packets once tables are published. `beside`: another gateway of this name
// runs and stays in charge; the engine is to be started once it has handed over.
[[nodiscard]] Result<Node> bring_up(const GatewayConfig& config, const OwnGateway& own, bool beside);

// The local device that the configuration describes.
[[nodiscard]] LocalDeviceOptions local_device_options(const GatewayConfig& config, const OwnGateway& own,
                                                      Bytes underlay_mtu);
[[nodiscard]] EngineOptions engine_options(const GatewayConfig& config, const OwnGateway& own);

}  // namespace isthmus
