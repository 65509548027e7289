// The fleet of the sequence fuzzer: a PathRig with more of everything, every part of which can change. One gateway
// serves many inputs, because making one takes longer than a sequence: restore() brings its tables back to what they
// were and lets its connections expire. Its clock is boot_clock.h.
// Failure: traps where the gateway refuses tables that control could publish. Thread: one.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "test/fuzz/sequence/input.h"
#include "test/support/path_rig.h"

namespace isthmus::test {

// Where an address is, hence how its packets arrive.
enum class Home : std::uint8_t { kLocal, kNode, kNative, kWest, kNorth, kSouth, kOutside };

struct Actor {
  Endpoint at;
  Home home = Home::kLocal;
  std::uint32_t identity = 0;
  bool published = true;  // as an endpoint, until that changes
};

struct Service {
  Endpoint vip;
  IpProtocol protocol = IpProtocol::kTcp;
  std::uint32_t number = 0;
  std::vector<std::uint8_t> backends;  // indexes of actors
  std::uint16_t backend_port = 0;      // 0: that of the actor
  bool published = true;               // until that changes
};

class Fleet {
 public:
  static constexpr unsigned kVariants = 8;
  explicit Fleet(unsigned variant);

  void restore();
  // One change of the tables, next hops or devices.
  void change(Input& in);
  // What is asked for is resolved, or not.
  void serve_neighbours(const EngineEvents& events);
  void resolve_neighbours(bool resolve) { resolves_ = resolve; }
  void pass(Nanoseconds time);

  [[nodiscard]] PathRig& rig() { return rig_; }
  [[nodiscard]] std::span<const Actor> actors() const { return actors_; }
  [[nodiscard]] std::span<const Service> services() const { return services_; }
  // Tunnel ends whose packets may come; the last one is no peer.
  [[nodiscard]] std::span<const IpAddress> senders() const { return senders_; }
  [[nodiscard]] IpAddress sender_of(Home home) const;
  [[nodiscard]] EncapsulationKind kind_from(const IpAddress& sender) const;
  [[nodiscard]] const Actor* actor_at(const IpAddress& address) const;
  [[nodiscard]] Home home_of(const IpAddress& address) const;
  // The VNI with which a packet of this address comes.
  [[nodiscard]] std::uint32_t vni_of(const IpAddress& address) const;
  // Where the tunnels of the gateway may lead.
  [[nodiscard]] bool is_tunnel_end(const IpAddress& address) const { return ends_.contains(address); }

 private:
  void make_actors();
  void make_services();
  void add_peer(std::uint32_t id, std::uint16_t cluster, const IpAddress& at, bool gateway, EncapsulationKind kind);
  void publish(const TableDelta& delta);
  void publish_tables();
  void publish_endpoints();
  [[nodiscard]] FrontendEntry frontend(const Service& service, std::span<const std::uint8_t> backends,
                                       std::uint32_t accepting) const;
  [[nodiscard]] std::vector<LocalRoute> routes(std::uint32_t without) const;
  [[nodiscard]] std::vector<ClusterEntry> clusters(std::uint32_t choice) const;

  void change_endpoint(Input& in);
  void change_service(Input& in);
  void change_peer(Input& in);
  void change_policy(Input& in);
  void change_next_hop(Input& in);
  void change_device(Input& in);

  unsigned variant_;
  PathRig rig_;
  std::vector<Actor> actors_;
  std::vector<Service> services_;
  std::vector<IpAddress> senders_;
  std::set<IpAddress> ends_;
  std::map<std::uint32_t, PeerEntry> peers_, present_peers_;
  std::map<IpAddress, std::uint32_t> identities_;  // of the published endpoints
  AdjacencyId underlay_hop_, other_hop_, local_hop_;
  std::vector<AdjacencyId> neighbours_;  // that workers asked for
  bool resolves_ = true, changed_ = false;
};

}  // namespace isthmus::test
