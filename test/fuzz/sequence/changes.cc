// What can change in the fleet while packets flow.
#include <algorithm>
#include <string>

#include "dataplane/api/identity.h"
#include "test/fuzz/sequence/fleet.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

constexpr MacAddress kMac{{0x02, 0, 0, 0, 0, 0x43}};
constexpr std::uint32_t kPrefixIdentity = 1 << 24 | 7, kUnlabelledPrefix = 3 << 24 | 2;

}  // namespace

void Fleet::change(Input& in) {
  changed_ = true;
  TableDelta delta;
  switch (in.below(10)) {
    case 0:
    case 1:
      return change_endpoint(in);
    case 2:
    case 3:
      return change_service(in);
    case 4:
      delta.clusters = clusters(in.byte());
      return publish(delta);
    case 5:
      return change_peer(in);
    case 6:
      delta.local_routes = routes(in.byte());
      return publish(delta);
    case 7:
      return change_policy(in);
    case 8:
      return change_next_hop(in);
    default:
      return change_device(in);
  }
}

void Fleet::change_endpoint(Input& in) {
  const Actor& actor = actors_[in.below(static_cast<std::uint32_t>(actors_.size()))];
  const std::uint8_t what = in.byte();
  if (what % 4 == 0) {
    identities_.erase(actor.at.address);
    return rig_.engine().remove_endpoints(Realm{0}, {&actor.at.address, 1});
  }
  const std::uint32_t cluster = actor.identity >> 16;
  const std::array<std::uint32_t, 8> identities{
      actor.identity,
      actor.identity + 1,
      identity::unlabelled(ClusterId{static_cast<std::uint16_t>(cluster)}).value(),
      2,
      1,
      kPrefixIdentity,
      9,
      actor.identity};
  const std::array<std::uint32_t, 4> nodes{0, 1, 9, 10};
  const EndpointEntry entry{Realm{0}, actor.at.address, ClusterId{static_cast<std::uint16_t>(cluster)},
                            Identity{identities[what / 4 % 8]}, PeerId{nodes[what / 32 % 4]}};
  identities_[actor.at.address] = entry.identity.value();
  rig_.engine().upsert_endpoints({&entry, 1});
}

void Fleet::change_service(Input& in) {
  const Service& service = services_[in.below(static_cast<std::uint32_t>(services_.size()))];
  const std::uint8_t what = in.byte();
  TableDelta delta;
  if (what % 8 == 0) {
    delta.remove_frontends = {{Realm{0}, service.vip.address, service.protocol, L4Port{service.vip.port}}};
    return publish(delta);
  }
  const bool v4 = service.vip.address.is_ipv4();
  const std::array<std::uint8_t, 5> all =
      v4 ? std::array<std::uint8_t, 5>{2, 1, 4, 6, 7} : std::array<std::uint8_t, 5>{11, 10, 13, 14, 15};
  std::vector<std::uint8_t> backends;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if ((what >> (3 + i) & 1) != 0) {
      backends.push_back(all[i]);
    }
  }
  const std::uint8_t accepting = in.byte();
  FrontendEntry entry = frontend(service, backends, accepting);
  entry.client_affinity = (accepting & 0x80) != 0;
  delta.upsert_frontends = {std::move(entry)};
  publish(delta);
}

void Fleet::change_peer(Input& in) {
  const std::array<std::uint32_t, 6> ids{1, 2, 3, 4, 9, 10};
  const std::uint32_t id = in.of(ids);
  const std::uint8_t how = in.byte();
  TableDelta delta;
  if (how == 0) {
    delta.remove_peers = {PeerId{id}};
    present_peers_.erase(id);
    return publish(delta);
  }
  PeerEntry peer = peers_.at(id);
  if ((how & 1) != 0) {
    const std::string number = std::to_string(100 + id);
    peer.underlay = Actors::ip(((peer.underlay.is_ipv4() ? "192.0.2." : "2001:db8::") + number).c_str());
    ends_.insert(peer.underlay);
  }
  const auto flipped = [](EncapsulationKind kind) {
    return kind == EncapsulationKind::kVxlan ? EncapsulationKind::kGeneve : EncapsulationKind::kVxlan;
  };
  if ((how & 2) != 0) {
    peer.kind = flipped(peer.kind);
    peer.udp_port = encapsulation_info(peer.kind).default_port;
  }
  peer.from_kind = (how & 4) != 0 ? flipped(peer.from_kind) : peer.from_kind;
  peer.adjacency = (how & 8) != 0 ? other_hop_ : underlay_hop_;
  peer.gateway = peer.gateway != ((how & 16) != 0);
  if ((how & 32) != 0) {
    peer.cluster = ClusterId{3};
  }
  present_peers_[id] = peer;
  delta.upsert_peers = {peer};
  publish(delta);
}

void Fleet::change_policy(Input& in) {
  constexpr std::uint32_t kPod = 1 << 16 | 500;
  const std::array<std::uint32_t, 3> subjects{kClientIdentity, kLocalBackendIdentity, kPod};
  const std::uint32_t subject = in.of(subjects);
  const std::uint8_t how = in.byte();
  PolicyDelta policies;
  policies.select(1, {kWestIdentity, kWestIdentity + 1}).select(2, {kClientIdentity, kPrefixIdentity, 2});
  const std::uint32_t peers = how >> 4 & 1 ? 2 : 1;
  const std::array<std::vector<PolicyEntry>, 8> entries{{{allow(peers)},
                                                         {deny(peers)},
                                                         {allow(peers, kTcpNumber, 1, 9000)},
                                                         {allow(peers, kUdpNumber), deny(peers, kTcpNumber, 80, 80)},
                                                         {allow(peers, kIcmpNumber, 8, 8)},
                                                         {allow(0, kTcpNumber)},
                                                         {allow(peers, kAnyProtocol, 9000, 65535)},
                                                         {}}};
  const DirectionPolicy direction = enforced(entries[how & 7]);
  switch (how >> 5) {
    case 0:
      policies.ingress(subject, direction);
      break;
    case 1:
      policies.egress(subject, direction);
      break;
    case 2:
      policies.egress(subject, direction).audit(subject);
      break;
    case 3:
      policies.ingress(subject, direction).egress(subject, enforced({allow(1)})).audit(subject);
      break;
    case 4:
      policies.without(subject);
      break;
    case 5:
      policies.delta.policy_defaults = {(how & 1) != 0, (how & 2) != 0, (how & 4) != 0};
      break;
    case 6:
      policies.prefix("10.2.0.0/16", (how & 1) != 0 ? kUnlabelledPrefix : kPrefixIdentity)
          .prefix("203.0.113.0/24", kPrefixIdentity)
          .prefix("fd00:2::/48", (how & 2) != 0 ? kUnlabelledPrefix : kPrefixIdentity);
      break;
    default:
      policies.moved(subject);
  }
  publish(policies.delta);
}

void Fleet::change_next_hop(Input& in) {
  Engine& engine = rig_.engine();
  const std::uint8_t how = in.byte();
  const std::array<AdjacencyId, 3> hops{underlay_hop_, other_hop_, local_hop_};
  const bool found = how / 8 % 2 == 1 && !neighbours_.empty();
  const AdjacencyId hop = found ? neighbours_[how / 16 % neighbours_.size()] : hops[how / 16 % hops.size()];
  switch (how % 8) {
    case 0:
    case 1:
      return engine.set_adjacency(hop, std::nullopt);
    case 2:
    case 3:
      return engine.set_adjacency(hop, kMac);
    case 4:
      return engine.age_adjacencies(Seconds{1});
    case 5:
      return static_cast<void>(engine.take_adjacency_used(hop));
    case 6:
      if (found) {
        engine.release_adjacency(hop);
        neighbours_.erase(std::find(neighbours_.begin(), neighbours_.end(), hop));
      }
      return;
    default:
      resolve_neighbours(!resolves_);
  }
}

void Fleet::change_device(Input& in) {
  const std::array<Bytes, 5> mtus{Bytes{1500}, Bytes{1450}, Bytes{1280}, Bytes{600}, Bytes{3000}};
  const std::uint8_t how = in.byte();
  ((how & 1) != 0 ? rig_.underlay() : rig_.local()).set_mtu(mtus[how / 2 % mtus.size()]);
  static_cast<void>(rig_.engine().check_devices());
}

void Fleet::serve_neighbours(const EngineEvents& events) {
  if (!resolves_) {
    return;
  }
  for (const NeighbourRequest& request : events.neighbours) {
    const AdjacencyId id = rig_.engine().adjacency(request.device, request.address);
    if (id == kNoAdjacency) {
      continue;
    }
    rig_.engine().set_adjacency(id, kMac);
    const bool fixed = id == underlay_hop_ || id == other_hop_ || id == local_hop_;
    if (!fixed && std::find(neighbours_.begin(), neighbours_.end(), id) == neighbours_.end()) {
      neighbours_.push_back(id);
    }
  }
}

}  // namespace isthmus::test
