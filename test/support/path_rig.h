// A gateway of cluster `east` for tests: the real engine with two memory devices and the tables of a small fleet, its
// rounds driven by the test. Send a packet, then check what was sent out and which drop counters have increased.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/engine.h"
#include "dataplane/io/memory/memory_device.h"
#include "test/support/named_counts.h"
#include "test/support/packet.h"

namespace isthmus::test {

inline constexpr std::uint32_t kClientIdentity = 1 << 16 | 100, kLocalBackendIdentity = 1 << 16 | 200;
inline constexpr std::uint32_t kWestIdentity = 2 << 16 | 300, kNorthIdentity = 3 << 16 | 400;

// The named roles of the test fleet.
struct Actors {
  static IpAddress ip(const char* text) { return *IpAddress::parse(text); }
  Endpoint client{ip("10.1.0.10"), 40000}, client6{ip("fd00:1::10"), 40000};  // pod of east
  Endpoint local_backend{ip("10.1.0.20"), 8080};                              // pod of east, backend
  Endpoint west{ip("10.2.0.10"), 9000}, west6{ip("fd00:2::10"), 9000};        // pod of west, backend
  Endpoint north{ip("10.3.0.10"), 9000};                                      // pod of north
  Endpoint south{ip("10.4.0.10"), 9000};                                      // pod of a cluster that no profile links
  IpAddress gateway = ip("192.0.2.1");                                        // the gateway under test
  IpAddress west_gateway = ip("192.0.2.2"), west_other = ip("192.0.2.3");
  IpAddress north_gateway = ip("192.0.2.4"), south_gateway = ip("192.0.2.5");
  IpAddress translation = ip("10.1.255.1"), translation6 = ip("fd00:1::ff:1");
  Endpoint remote_service{ip("10.200.0.10"), 80};  // backend: west
  Endpoint local_service{ip("10.200.0.11"), 80};   // backend: local_backend
  Endpoint empty_service{ip("10.200.0.12"), 80};   // no backend
  Endpoint twin_service{ip("10.200.0.13"), 80};    // the same backend as remote_service
  Endpoint service6{ip("fd00:ff::10"), 80};        // backend: west6
};

struct Output {
  bool underlay = false;
  FrameBytes bytes;
  Dissected packet;
};

// A frame that was given to the host.
struct ToHost {
  bool underlay = false;
  FrameBytes bytes;
  friend bool operator==(const ToHost&, const ToHost&) = default;
};

struct Outcome {
  std::vector<Output> out;
  std::vector<ToHost> host;
  std::map<std::string, std::uint64_t> drops;  // only those that increased
  NamedCounts counted;                         // every counter that increased, those of `drops` among them
  // The only packet sent out. Fails the test and returns an empty one if there is not exactly one.
  [[nodiscard]] Output only() const;
  [[nodiscard]] std::string text() const;
};

class PathRig {
 public:
  struct Options {
    EngineOptions engine;
    Bytes underlay_mtu{1500}, local_mtu{1450};
    bool local_routes_on_link = false;
    Family underlay = Family::kIpv4;                     // of the tunnels
    EncapsulationKind kind = EncapsulationKind::kVxlan;  // of all tunnels
    bool translation6 = true;                            // the gateway has an IPv6 translation address
    bool resolve = true;                                 // the next hops have MAC addresses
    bool publish = true;
    std::string state;          // directory in which the connections are kept; empty: nowhere
    std::uint32_t numbers = 0;  // added to the numbers of peers and services: another process has others
    std::uint32_t lane_frames = MemoryDevice::kLaneFrames;  // of the devices
    int kernel_interface = 0;       // by which XDP would send what leaves by the devices; 0: it cannot
    bool shares_with_host = false;  // the devices do; packets are then for their MAC addresses
    bool threads = false;           // workers run as threads: use inject() and take() of the devices
    // What the engine gets in place of each device; itself, where there is none.
    std::function<std::unique_ptr<Device>(std::unique_ptr<MemoryDevice>)> around;
  };
  // Fails the test and aborts if something cannot be created.
  explicit PathRig(Options options);
  PathRig() : PathRig(Options{}) {}

  Outcome from_local(const PacketSpec& spec) { return send(*local_, spec.bytes(), &spec); }
  Outcome from_underlay(const PacketSpec& spec) { return send(*underlay_, spec.bytes(), &spec); }
  Outcome raw(bool underlay, const FrameBytes& bytes) { return send(underlay ? *underlay_ : *local_, bytes, nullptr); }
  // Runs rounds without input.
  Outcome idle(unsigned rounds = 1);

  // Replaces the backends of a service. `accepting_new`: indexes of those on the ring; the others are draining.
  void set_backends(const Endpoint& vip, std::uint32_t service, const std::vector<BackendEntry>& backends,
                    const std::vector<std::size_t>& accepting_new, IpProtocol protocol = IpProtocol::kTcp);
  void remove_service(const Endpoint& vip);
  void set_clusters(const std::vector<PeerId>& west_gateways, bool west_linked = true);

  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] MemoryDevice& underlay() { return *underlay_; }
  [[nodiscard]] MemoryDevice& local() { return *local_; }
  [[nodiscard]] EngineCounters counters() const { return engine_->counters(); }
  [[nodiscard]] std::vector<FlowRecord> flows() const;

  Actors at;
  static constexpr PeerId kWestGateway{1}, kWestOther{2}, kNorthGateway{3}, kSouthGateway{4};

  // The packet in a tunnel of the rig's kind, from a peer to the gateway.
  [[nodiscard]] PacketSpec tunnelled(PacketSpec inner, const IpAddress& from, std::uint32_t vni) const;

 private:
  Outcome send(MemoryDevice& device, const FrameBytes& bytes, const PacketSpec* spec);
  void publish_fleet(const Options& options);

  std::unique_ptr<Engine> engine_;
  MemoryDevice* underlay_ = nullptr;
  MemoryDevice* local_ = nullptr;
  AdjacencyId underlay_hop_, local_hop_;
  std::uint32_t numbers_ = 0;
  EncapsulationKind kind_ = EncapsulationKind::kVxlan;
};

[[nodiscard]] BackendEntry backend(std::uint32_t id, const Endpoint& at, std::uint16_t cluster);

}  // namespace isthmus::test
