#include "test/storm/storm_gateway.h"

#include <cstdio>
#include <cstdlib>

#include "test/support/packet.h"

namespace isthmus::storm {
namespace {

using test::Endpoint;
using test::PacketSpec;

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

constexpr std::uint32_t kClientIdentity = 1 << 16 | 100, kWestIdentity = 2 << 16 | 300;

struct Ends {
  IpAddress own, west, other;
};
Ends ends_of(Family underlay) {
  return underlay == Family::kIpv4 ? Ends{ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3")}
                                   : Ends{ip("2001:db8::1"), ip("2001:db8::2"), ip("2001:db8::3")};
}

template <typename T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", result.error().where.c_str(), result.error().what.c_str());
    std::abort();
  }
  return std::move(*result);
}
void must(const Status& status) {
  if (!status) {
    std::fprintf(stderr, "%s: %s\n", status.error().where.c_str(), status.error().what.c_str());
    std::abort();
  }
}

// Packets of both families between one of our pods and one of west's, by pod and by service, of every kind that the
// path knows; `outward`: as they leave our cluster.
std::vector<PacketSpec> packets(bool outward) {
  std::vector<PacketSpec> all;
  for (const auto& [pod, west, vip] :
       {std::tuple{"10.1.0.10", "10.2.0.10", "10.200.0.10"}, std::tuple{"fd00:1::10", "fd00:2::10", "fd00:ff::10"}}) {
    for (std::uint16_t port = 40000; port < 40004; ++port) {
      const Endpoint client{ip(pod), port}, server{ip(west), 9000}, service{ip(vip), 80};
      const Endpoint& from = outward ? client : server;
      const Endpoint& to = outward ? server : client;
      for (const std::uint8_t flags : {test::kSyn, test::kAck, std::uint8_t{test::kFin | test::kAck}, test::kRst,
                                       std::uint8_t{test::kSyn | test::kAck}}) {
        all.push_back(test::tcp(from, to, flags).with_payload(flags == test::kAck ? 40 : 0));
        if (outward) {
          all.push_back(test::tcp(client, service, flags));
        }
      }
      all.push_back(test::udp(from, to).with_payload(8));
      all.push_back(test::udp(from, to).with_payload(1460).with_df());
      all.push_back(test::udp(from, to).without_udp_checksum());
      all.push_back(test::udp(from, to).as_fragment(8));
      all.push_back(test::echo_request(from.address, to.address, port));
      all.push_back(test::echo_reply(from.address, to.address, port));
      all.push_back(test::icmp_error(from.address, to.address, from.address.is_ipv4() ? 3 : 1, 3,
                                     test::udp(to, from).ip_bytes()));
      all.push_back(test::tcp(from, to, test::kAck).with_ttl(1).with_ecn(1));
    }
  }
  return all;
}

std::vector<FrameText> templates(const Variant& variant, bool underlay) {
  const Ends ends = ends_of(variant.underlay);
  std::vector<FrameText> all;
  for (PacketSpec spec : packets(!underlay)) {
    if (underlay) {
      spec.in_tunnel(ends.west, ends.own, kWestIdentity);
      if (variant.kind == EncapsulationKind::kGeneve) {
        spec.as_geneve();
      }
    }
    const auto bytes = spec.bytes();
    all.emplace_back(bytes.begin(), bytes.end());
  }
  return all;
}

}  // namespace

std::string Variant::text() const {
  return std::string(encapsulation_info(kind).name) + (underlay == Family::kIpv4 ? " over IPv4" : " over IPv6") +
         (midstream == MidstreamPolicy::kLoose ? ", loose" : ", strict");
}

StormGateway::StormGateway(const Variant& variant, std::uint64_t seed) : variant_(variant) {
  const Ends ends = ends_of(variant.underlay);
  EngineOptions options;
  options.drive_by_caller = true;
  options.keep_state = false;
  options.cluster = ClusterId{1};
  options.tunnel = tunnel_end(ends.own, variant.kind);
  options.translation_ipv4 = ip("10.1.255.1");
  options.midstream = variant.midstream;
  options.connections = 1024;  // few, so that the table fills up now and then
  options.frames = 512;
  engine_ = must(Engine::create(options));
  ExitRules exit;
  exit.tunnels = true;
  exit.own = {ends.own};
  exit.peers = {ends.west, ends.other};
  exit.ports = {encapsulation_info(variant.kind).default_port.value()};
  underlay_ = add({"underlay", *MacAddress::parse("02:00:00:00:00:01"), templates(variant, true), exit, seed});
  local_ = add({"local", *MacAddress::parse("02:00:00:00:00:11"), templates(variant, false), {}, seed + 1});
  must(engine_->start());
  publish_fleet();
}

StormDevice* StormGateway::add(StormDevice::Options options) {
  auto device = std::make_unique<StormDevice>(std::move(options));
  StormDevice* raw = device.get();
  (void)must(engine_->add_device(std::move(device)));
  return raw;
}

void StormGateway::publish_fleet() {
  const Ends ends = ends_of(variant_.underlay);
  underlay_hop_ = engine_->adjacency(DeviceId{0}, ip("192.0.2.254"));
  local_hop_ = engine_->adjacency(DeviceId{1}, ip("169.254.0.1"));
  engine_->set_adjacency(underlay_hop_, MacAddress::parse("02:00:00:00:00:fe"));
  engine_->set_adjacency(local_hop_, MacAddress::parse("02:00:00:00:00:10"));
  TableDelta delta;
  const L4Port port = encapsulation_info(variant_.kind).default_port;
  delta.upsert_peers = {{PeerId{1}, ClusterId{2}, ends.west, port, underlay_hop_, true, variant_.kind, variant_.kind},
                        {PeerId{2}, ClusterId{2}, ends.other, port, underlay_hop_, true, variant_.kind, variant_.kind}};
  delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, local_hop_},
                        {*Prefix::parse("fd00:1::/48"), DeviceId{1}, local_hop_}};
  must(engine_->publish(delta));
  set_west_gateways({PeerId{1}, PeerId{2}});
  set_backend(true);
}

void StormGateway::set_west_gateways(std::vector<PeerId> gateways) {
  TableDelta delta;
  delta.clusters = {
      {ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16"), *Prefix::parse("fd00:1::/48")}, {}},
      {ClusterId{2}, false, true, {*Prefix::parse("10.2.0.0/16"), *Prefix::parse("fd00:2::/48")}, std::move(gateways)}};
  must(engine_->publish(delta));
}

void StormGateway::set_backend(bool west) {
  TableDelta delta;
  for (const auto& [vip, there, here] :
       {std::tuple{"10.200.0.10", "10.2.0.10", "10.1.0.20"}, std::tuple{"fd00:ff::10", "fd00:2::10", "fd00:1::20"}}) {
    auto set = std::make_shared<BackendSet>();
    set->backends = {{BackendId{west ? 1u : 2u}, ip(west ? there : here), L4Port{9000},
                      ClusterId{static_cast<std::uint16_t>(west ? 2 : 1)}}};
    set->ring = {0};
    delta.upsert_frontends.push_back(
        {{Realm{0}, ip(vip), IpProtocol::kTcp, L4Port{80}}, ServiceId{1}, false, Seconds{}, std::move(set)});
  }
  must(engine_->publish(delta));
}

// Identities, backends, gateways and links come and go.
void StormGateway::change(std::uint64_t step) {
  const bool odd = step % 2 != 0;
  switch (step / 2 % 4) {
    case 0: {
      const std::vector<EndpointEntry> endpoints{
          {Realm{0}, ip("10.1.0.10"), ClusterId{1}, Identity{kClientIdentity + (odd ? 1u : 0u)}, kNoPeer},
          {Realm{0}, ip("10.2.0.10"), ClusterId{2}, Identity{kWestIdentity}, kNoPeer},
          {Realm{0}, ip("fd00:2::10"), ClusterId{2}, Identity{kWestIdentity + (odd ? 1u : 0u)}, kNoPeer}};
      engine_->upsert_endpoints(endpoints);
      break;
    }
    case 1:
      set_backend(odd);
      break;
    case 2:
      set_west_gateways(odd ? std::vector<PeerId>{PeerId{1}, PeerId{2}} : std::vector<PeerId>{PeerId{2}});
      break;
    default: {
      const std::vector<IpAddress> gone{ip("10.2.0.10")};
      engine_->remove_endpoints(Realm{0}, gone);
      break;
    }
  }
}

std::string StormGateway::check_balance() {
  for (const StormDevice* device : {underlay_, local_}) {
    if (!device->violation().empty()) {
      return device->violation();
    }
  }
  if (underlay_->missing_frames() != 0) {
    return std::to_string(underlay_->missing_frames()) + " frame buffers have got lost";
  }
  probe_answers_ += engine_->poll_events().probe_answers.size();
  const EngineCounters c = engine_->counters();
  std::uint64_t dropped = 0;
  for (const DropCount& drop : c.drops) {
    dropped += drop.packets;
  }
  const std::uint64_t sent = underlay_->sent() + local_->sent();
  // Fragments that wait, those that have become one tunnel packet, and those that one packet has become.
  const std::uint64_t kept = c.fragments_waiting + c.fragments_joined - c.assembled;
  const std::uint64_t made = c.fragments_made - c.packets_fragmented - c.tunnels_fragmented;
  const std::uint64_t consumed = probe_answers_ + c.path_mtu_claims;
  const std::uint64_t errors = c.icmp_sent + c.icmp_copied;
  if (c.rx_packets != received() || sent - errors - made + dropped + consumed + kept != received()) {
    return "received " + std::to_string(received()) + ", sent " + std::to_string(sent) + " with " +
           std::to_string(errors) + " ICMP errors, dropped " + std::to_string(dropped) + ", consumed " +
           std::to_string(consumed) + ", kept " + std::to_string(kept) + " fragments, made " + std::to_string(made);
  }
  return {};
}

std::string StormGateway::run(std::uint64_t packets) {
  constexpr std::uint64_t kRoundsPerCheck = 64, kChecksPerChange = 8;
  const std::uint64_t end = received() + packets;
  for (std::uint64_t checks = 1; received() < end; ++checks) {
    for (std::uint64_t round = 0; round < kRoundsPerCheck; ++round) {
      engine_->run_round(WorkerId{0});
    }
    if (std::string wrong = check_balance(); !wrong.empty()) {
      return wrong;
    }
    if (checks % kChecksPerChange == 0) {
      change(checks / kChecksPerChange);
    }
  }
  return {};
}

}  // namespace isthmus::storm
