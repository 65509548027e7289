// A gateway with a fleet at random: the real engine over steered devices (device 0 on the underlay, 1 and 2 on the
// local side), and tables in which peers have every kind of tunnel over both families, the own cluster's nodes are in
// tunnels too, one cluster is native, and services have backends on all sides. Equal seeds give equal fleets.
// Failure: fails the test and aborts where the gateway refuses what control could publish. Threads: one.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/engine.h"
#include "test/unit/xdp/differential/built_frame.h"
#include "test/unit/xdp/differential/dice.h"
#include "test/unit/xdp/differential/steered_device.h"

namespace isthmus::test {

enum class PodHome : std::uint8_t { kLocal, kSecondDevice, kOwnNode, kWest, kNorth, kUnlinked, kNative, kRemoteNode };
inline constexpr std::size_t kPodHomes = 8;

struct FleetPod {
  IpAddress address;
  PodHome home = PodHome::kLocal;
  ClusterId cluster;
  std::uint32_t identity = 0;
};

struct FleetService {
  Endpoint vip;
  IpProtocol protocol = IpProtocol::kTcp;
  std::uint32_t number = 0;
  std::vector<std::size_t> backends;  // indexes of pods
};

// A frame that the engine sent.
struct SentFrame {
  DeviceId device;
  FrameBytes bytes;
};

class RandomFleet {
 public:
  static constexpr std::size_t kDevices = 3;
  // `shares_with_host`: its devices do, so that the engine gets all frames.
  explicit RandomFleet(std::uint64_t seed, bool shares_with_host = false);
  ~RandomFleet();

  // A change of policy, peers, next hops, endpoints, services or MTU, as control makes them while traffic flows.
  void change(Dice& dice);
  // One round of the engine with the frame, or with none.
  std::vector<SentFrame> engine_turn(DeviceId device, const FrameBytes& frame);
  std::vector<SentFrame> engine_turn();
  // Resolves next hops that workers asked for.
  void serve_neighbours();
  void pass(Nanoseconds time);

  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] KernelFlows& kernel_flows() { return *kernel_flows_; }
  [[nodiscard]] const TunnelEnds& tunnel() const { return tunnel_; }
  [[nodiscard]] SteeredDevice& device(DeviceId id) { return *devices_[id.value()]; }
  [[nodiscard]] const std::vector<FleetPod>& pods() const { return pods_; }
  [[nodiscard]] const std::vector<FleetService>& services() const { return services_; }
  [[nodiscard]] const FleetPod* pod_at(const IpAddress& address) const;
  // The peer with this tunnel end.
  [[nodiscard]] const PeerEntry* peer_at(const IpAddress& underlay) const;
  // The peer whose tunnel carries what a pod of this home sends; nullptr: no tunnel.
  [[nodiscard]] const PeerEntry* sender_of(PodHome home, Dice& dice) const;
  // How packets look on arrival that come in the tunnel of a peer.
  [[nodiscard]] ArrivalShape::Tunnel tunnel_of(const PeerEntry& peer, std::uint32_t vni) const;
  // Every kind that has a tunnel.
  [[nodiscard]] static const std::vector<EncapsulationKind>& tunnel_kinds();
  [[nodiscard]] std::string text() const;

 private:
  void choose_underlay(Dice& dice, EngineOptions& options);
  void add_devices(Dice& dice, bool shares_with_host);
  void add_peers(Dice& dice);
  void add_pods();
  void add_services(Dice& dice);
  void publish(const TableDelta& delta);
  void publish_tables(Dice& dice);
  [[nodiscard]] std::vector<ClusterEntry> clusters() const;
  [[nodiscard]] std::vector<LocalRoute> routes() const;
  [[nodiscard]] FrontendEntry frontend(const FleetService& service, Dice& dice) const;
  void choose_policies(Dice& dice, TableDelta& delta) const;
  void change_endpoint(Dice& dice);
  void change_peer(Dice& dice);
  void change_next_hop(Dice& dice);
  void change_mtu(Dice& dice);

  std::uint64_t seed_;
  std::shared_ptr<KernelFlows> kernel_flows_;
  std::unique_ptr<Engine> engine_;
  std::array<SteeredDevice*, kDevices> devices_{};
  TunnelEnds tunnel_;
  bool on_link_ = false, with_policies_ = false;
  std::map<std::uint32_t, PeerEntry> peers_;
  std::vector<FleetPod> pods_;
  std::vector<FleetService> services_;
  std::vector<AdjacencyId> underlay_hops_, local_hops_;  // of the underlay device; of the two others
};

}  // namespace isthmus::test
