// A rig whose settled flows are handed down to real BPF maps, without a program: the test looks at what XDP would see,
// and counts as it would. The clock is the test's (boot_clock.h).
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/handdown/record.h"
#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"
#include "xdp/loader/kernel_flows.h"

namespace isthmus::test {

inline constexpr int kLoopback = 1;  // number of an interface that is everywhere
inline constexpr std::uint8_t kData = kAck;

class DownRig {
 public:
  struct Setup {
    std::uint32_t entries = 1024, packets_per_second = 16;
    PathRig::Options rig{};
  };
  explicit DownRig(Setup setup) : flows_(open(setup.entries)), rig_(with(std::move(setup), flows_)) {}
  DownRig() : DownRig(Setup{}) {}

  [[nodiscard]] PathRig& rig() { return rig_; }
  [[nodiscard]] KernelFlows& maps() { return *flows_; }
  [[nodiscard]] const Actors& at() const { return rig_.at; }
  void pass(std::uint32_t seconds) {
    set_boot_clock(Nanoseconds{boot_clock().value() + std::uint64_t{seconds} * 1'000'000'000});
  }
  void round(bool look = true) { rig_.engine().hand_down_round(look); }

  // What the client sends to a service or pod of west, and what comes back.
  struct Flow {
    Endpoint client, target, west;
  };
  [[nodiscard]] Flow to_vip() const { return {at().client, at().remote_service, at().west}; }
  [[nodiscard]] Flow direct() const { return {{at().client.address, 41000}, at().west, at().west}; }
  [[nodiscard]] PacketSpec there(const Flow& flow, std::uint8_t flags = kData) const {
    return tcp(flow.client, flow.target, flags).with_payload(100);
  }
  [[nodiscard]] PacketSpec back(const Flow& flow, std::uint8_t flags = kData) const {
    return rig_.tunnelled(tcp(flow.west, flow.client, flags).with_payload(100), at().west_gateway, kWestIdentity);
  }
  void establish(const Flow& flow) {
    static_cast<void>(rig_.from_local(there(flow, kSyn)).only());
    static_cast<void>(rig_.from_underlay(back(flow, kSyn | kAck)).only());
    static_cast<void>(rig_.from_local(there(flow)).only());
    static_cast<void>(rig_.from_underlay(back(flow)).only());
  }
  // Packets enough in one second, and one in the next, which shows it.
  void heat(const Flow& flow, unsigned packets = 17) {
    pass(1);
    for (unsigned i = 0; i < packets; ++i) {
      static_cast<void>(rig_.from_local(there(flow)).only());
    }
    pass(1);
    static_cast<void>(rig_.from_local(there(flow)).only());
  }
  void hand_down(const Flow& flow) {
    establish(flow);
    heat(flow);
    round();
  }

  [[nodiscard]] static isthmus_flow_key key(const Endpoint& from, const Endpoint& to) {
    return key_of(
        FlowKey(from.address, to.address, Be16::of(from.port), Be16::of(to.port), IpProtocol::kTcp, Realm{0}));
  }
  [[nodiscard]] static isthmus_flow_key key_there(const Flow& flow) { return key(flow.client, flow.target); }
  [[nodiscard]] static isthmus_flow_key key_back(const Flow& flow) { return key(flow.west, flow.client); }
  [[nodiscard]] std::optional<isthmus_flow> entry(const isthmus_flow_key& key) const {
    const isthmus_flow* const flow = flows_->find(key);
    return flow != nullptr ? std::optional(*flow) : std::nullopt;
  }
  [[nodiscard]] isthmus_lease& lease(const isthmus_flow& flow) const { return flows_->leases()[flow.lease]; }
  // As XDP tells.
  [[nodiscard]] bool holds(const isthmus_flow& flow) const {
    std::uint32_t sum = 0;
    for (const std::uint16_t index : flow.epoch_index) {
      sum += flows_->epochs()[index];
    }
    return lease(flow).valid == 1 && lease(flow).sum == sum;
  }
  [[nodiscard]] bool down(const isthmus_flow_key& key) const {
    const auto flow = entry(key);
    return flow && holds(*flow);
  }
  [[nodiscard]] bool down(const Flow& flow) const { return down(key_there(flow)) && down(key_back(flow)); }
  [[nodiscard]] FlowRecord record(const Flow& flow) const {
    for (const FlowRecord& record : rig_.flows()) {
      if (record.client == flow.client.address && record.client_port.value() == flow.client.port) {
        return record;
      }
    }
    ADD_FAILURE() << "no connection of port " << flow.client.port;
    return {};
  }
  [[nodiscard]] EngineCounters counters() const { return rig_.counters(); }

 private:
  [[nodiscard]] static std::shared_ptr<KernelFlows> open(std::uint32_t entries) {
    auto flows = open_kernel_flows({entries});
    if (!flows) {
      ADD_FAILURE() << flows.error().text();
      std::abort();
    }
    return *flows;
  }
  [[nodiscard]] static PathRig::Options with(Setup setup, const std::shared_ptr<KernelFlows>& flows) {
    setup.rig.kernel_interface = kLoopback;
    setup.rig.engine.hand_down.flows = flows;
    setup.rig.engine.hand_down.packets_per_second = setup.packets_per_second;
    return setup.rig;
  }

  std::shared_ptr<KernelFlows> flows_;
  PathRig rig_;
};

}  // namespace isthmus::test
