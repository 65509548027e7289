// Drives the whole path with sequences that a fleet could produce, and worse: bursts of packets built from the names of
// a small fleet, whole or with one byte changed, over every kind of tunnel, and changes of the tables between bursts.
// Checksums are right unless a byte is changed, so that connections open, translate, move and end. Nothing may crash,
// and every frame is accounted for: sent out, dropped, waiting for a neighbour, or consumed as a probe. The input is a
// string of bytes that are read one by one; a sequence ends with it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  [[nodiscard]] bool empty() const { return at_ == end_; }
  // 0 at the end.
  std::uint8_t byte() { return empty() ? std::uint8_t{0} : *at_++; }
  std::uint32_t below(std::uint32_t limit) { return byte() % limit; }
  std::uint16_t word() {
    const std::uint8_t high = byte();
    return static_cast<std::uint16_t>(high << 8 | byte());
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

PathRig::Options options_of(std::uint8_t choice) {
  PathRig::Options options;
  options.engine.connections = 1024;
  options.engine.half_open_limit = (choice & 1) != 0 ? 64 : 0;
  options.engine.frames = 2048;
  options.engine.translation_first = 40'000;
  options.engine.translation_last = (choice & 2) != 0 ? 40'007 : 40'999;
  options.engine.midstream = (choice & 4) != 0 ? MidstreamPolicy::kDrop : MidstreamPolicy::kLoose;
  options.engine.tunnel.ports[1] = L4Port{6081};
  options.kind = (choice & 8) != 0 ? EncapsulationKind::kGeneve : EncapsulationKind::kVxlan;
  options.underlay = (choice & 16) != 0 ? Family::kIpv6 : Family::kIpv4;
  options.local_routes_on_link = (choice & 32) != 0;
  options.local_mtu = (choice & 64) != 0 ? Bytes{1300} : Bytes{1450};
  options.translation6 = (choice & 128) == 0;
  return options;
}

class Sequence {
 public:
  explicit Sequence(std::uint8_t choice)
      : rig_(options_of(choice)),
        at_(rig_.at),
        node_(Actors::ip(at_.gateway.is_ipv4() ? "192.0.2.50" : "2001:db8::50")),
        stray_(Actors::ip(at_.gateway.is_ipv4() ? "192.0.2.99" : "2001:db8::99")) {
    // A node of our own, native routing to a cluster, and a service that both sides' pods use.
    TableDelta delta;
    delta.upsert_peers = {{PeerId{9}, ClusterId{1}, node_, L4Port{6081}, AdjacencyId{1}, false,
                           EncapsulationKind::kGeneve, EncapsulationKind::kGeneve}};
    const AdjacencyId hop = (choice & 32) != 0 ? kNoAdjacency : AdjacencyId{2};
    delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, hop},
                          {*Prefix::parse("fd00:1::/48"), DeviceId{1}, hop},
                          {*Prefix::parse("10.1.5.0/24"), DeviceId{1}, hop, PeerId{9}},
                          {*Prefix::parse("10.5.0.0/16"), DeviceId{0}, AdjacencyId{1}, kNoPeer, true}};
    publish(delta);
    rig_.set_backends(at_.twin_service, 4, {backend(3, at_.west, 2), backend(5, at_.local_backend, 1)}, {0, 1});
  }

  void run(Input& in) {
    for (unsigned steps = 0; !in.empty() && steps < 200; ++steps) {
      switch (in.below(8)) {
        case 0:
          change(in);
          break;
        case 1:
          round();
          break;
        default:
          inject(in);
      }
    }
    round();
  }

 private:
  void publish(const TableDelta& delta) {
    if (!rig_.engine().publish(delta)) {
      __builtin_trap();
    }
  }
  Endpoint endpoint(Input& in) {
    const std::array<Endpoint, 18> all{at_.client,
                                       at_.client6,
                                       at_.local_backend,
                                       at_.west,
                                       at_.west6,
                                       at_.north,
                                       at_.south,
                                       at_.remote_service,
                                       at_.local_service,
                                       at_.empty_service,
                                       at_.twin_service,
                                       at_.service6,
                                       pod_,
                                       native_,
                                       last_source_,
                                       last_destination_,
                                       translated_,
                                       Endpoint{stray_, 1}};
    const std::uint8_t choice = in.byte();
    Endpoint chosen = all[choice % all.size()];
    chosen.port = static_cast<std::uint16_t>(chosen.port + choice / all.size() % 3);
    return chosen;
  }

  PacketSpec packet(Input& in) {
    const Endpoint from = endpoint(in), to = endpoint(in);
    const std::uint8_t flags = in.byte();
    switch (in.below(6)) {
      case 0:
        return udp(from, to).with_payload(in.byte());
      case 1:
        return echo_request(from.address, to.address, in.byte());
      case 2:
        return echo_reply(from.address, to.address, in.byte());
      case 3: {
        const bool v4 = to.address.is_ipv4();
        const std::uint8_t type = v4 ? (in.below(2) == 0 ? 3 : 11) : static_cast<std::uint8_t>(1 + in.below(3));
        const FrameBytes& about = quotes_[in.below(quotes_.size())];
        PacketSpec error = icmp_error(from.address, to.address, type, static_cast<std::uint8_t>(in.below(5)),
                                      about.empty() ? udp(to, from).ip_bytes() : about);
        return error.with_mtu(in.word());
      }
      default: {
        PacketSpec segment = tcp(from, to, flags & 0x17).with_payload(in.below(4) == 0 ? 1330 : in.byte());
        return (flags & 0x80) != 0 ? segment.with_df() : segment;
      }
    }
  }

  PacketSpec in_tunnel(Input& in, PacketSpec spec) {
    const std::array<IpAddress, 6> senders{at_.west_gateway,  at_.west_other, at_.north_gateway,
                                           at_.south_gateway, node_,          stray_};
    const std::array<std::uint32_t, 12> identities{
        kWestIdentity, kNorthIdentity,        kClientIdentity,  kPodIdentity, 1, 2, 4, 6, 8,
        300,           kLocalBackendIdentity, kWestIdentity + 1};
    const IpAddress sender = senders[in.below(senders.size())];
    spec = rig_.tunnelled(std::move(spec), sender, identities[in.below(identities.size())]);
    if (sender == node_) {
      spec = spec.as_geneve();
    }
    const std::uint8_t more = in.byte();
    spec.tunnel->ecn = more & 3;
    spec.tunnel->padding = (more & 4) != 0 ? 18 : 0;
    if ((more & 8) != 0) {
      spec.tunnel->flags = 0x08000000U | more << 16;
    }
    if ((more & 0x30) == 0x30 && spec.tunnel->kind == EncapsulationKind::kGeneve) {
      spec.tunnel->options = FrameBytes{1, 2, static_cast<std::uint8_t>(more & 0x80), 0};
    }
    return spec;
  }

  void inject(Input& in) {
    PacketSpec spec = packet(in);
    last_source_ = {spec.source, spec.source_port};
    last_destination_ = {spec.destination, spec.destination_port};
    if (spec.source.family() != spec.destination.family()) {
      return;
    }
    const std::uint8_t how = in.byte();
    spec.with_ecn(how & 3);
    if ((how & 0x0c) == 0x0c) {
      spec.with_ttl(1);
    }
    const bool underlay = (how & 0x10) != 0;
    if (underlay && (how & 0x20) == 0) {
      spec = in_tunnel(in, std::move(spec));
    }
    FrameBytes bytes = spec.bytes();
    if ((how & 0xc0) == 0xc0) {  // a byte is changed, or the frame ends early
      const std::size_t where = in.word() % bytes.size();
      in.below(4) == 0 ? bytes.resize(std::max<std::size_t>(where, 1)) : static_cast<void>(bytes[where] = in.byte());
    }
    if ((underlay ? rig_.underlay() : rig_.local()).inject(bytes)) {
      ++injected_;
    }
    if (injected_ == 32) {
      round();
    }
  }

  // Everything that was injected, in one burst for each device.
  void round() {
    const EngineCounters before = rig_.counters();
    std::uint64_t lost = 0;
    for (const DropCount& drop : before.drops) {
      lost -= drop.packets;
    }
    rig_.engine().run_round(WorkerId{0});
    for (const NeighbourRequest& request : rig_.engine().poll_events().neighbours) {
      rig_.engine().set_adjacency(rig_.engine().adjacency(request.device, request.address),
                                  MacAddress::parse("02:00:00:00:00:42"));
    }
    rig_.engine().run_round(WorkerId{0});
    const std::size_t answers = rig_.engine().poll_events().probe_answers.size();
    const std::uint64_t out = take(rig_.underlay()) + take(rig_.local());
    const EngineCounters after = rig_.counters();
    for (const DropCount& drop : after.drops) {
      lost += drop.packets;
    }
    const std::uint64_t originated = after.icmp_sent - before.icmp_sent;
    // Of two that wait for one neighbour the second is dropped; what waits is sent in the second round.
    if (out + lost + answers < injected_ || out + lost > injected_ + originated + 64) {
      __builtin_trap();
    }
    injected_ = 0;
  }

  std::uint64_t take(MemoryDevice& device) {
    std::uint64_t count = 0;
    while (auto frame = device.take()) {
      const Dissected seen = dissect(*frame);
      if (seen.source_port >= 40'000 && seen.source == at_.translation) {
        translated_ = {seen.source, seen.source_port};
      }
      const std::size_t header = 14;
      if (!seen.tunnelled && frame->size() > header) {
        quotes_[count % quotes_.size()].assign(frame->begin() + header, frame->end());
      }
      ++count;
    }
    return count;
  }

  void change(Input& in) {
    round();
    const std::uint8_t what = in.byte();
    const std::array<IpAddress, 4> pods{at_.west.address, at_.client.address, pod_.address, at_.west6.address};
    const std::array<std::uint16_t, 4> clusters{2, 1, 1, 2};
    const std::size_t pod = what / 8 % pods.size();
    switch (what % 8) {
      case 0: {
        const EndpointEntry entry{Realm{0}, pods[pod], ClusterId{clusters[pod]},
                                  Identity{std::uint32_t{clusters[pod]} << 16 | (300 + in.below(2))},
                                  PeerId{in.below(3)}};
        return rig_.engine().upsert_endpoints({&entry, 1});
      }
      case 1:
        return rig_.engine().remove_endpoints(Realm{0}, {&pods[pod], 1});
      case 2:
        return rig_.set_backends(at_.remote_service, 1 + in.below(2) * 70,
                                 {backend(1, in.below(2) == 0 ? at_.west : at_.north, in.below(2) == 0 ? 2 : 3)},
                                 std::vector<std::size_t>(in.below(2), 0));
      case 3:
        return in.below(2) == 0 ? rig_.remove_service(at_.remote_service)
                                : rig_.set_backends(at_.west, 9, {backend(9, at_.north, 3)}, {0});
      case 4: {
        const std::array<std::vector<PeerId>, 4> live{
            {{PathRig::kWestGateway}, {PathRig::kWestOther}, {PathRig::kWestGateway, PathRig::kWestOther}, {}}};
        return rig_.set_clusters(live[in.below(4)], in.below(8) != 0);
      }
      case 5: {
        PolicyDelta policies;
        policies.select(1, {kWestIdentity, kWestIdentity + 1});
        const bool allows = in.below(2) == 0;
        policies.egress(kClientIdentity, enforced({allows ? allow(1) : deny(1)}));
        policies.ingress(kClientIdentity, enforced({allow(1, kTcpNumber, 1, 50'000)}));
        return publish(policies.delta);
      }
      case 6: {
        TableDelta none;
        none.remove_policies = {Identity{kClientIdentity}};
        return publish(none);
      }
      default:
        static_cast<void>(rig_.engine().send_probe(PeerId{1 + in.below(3)}, in.byte()));
    }
  }

  static constexpr std::uint32_t kPodIdentity = 1 << 16 | 500;
  PathRig rig_;
  const Actors& at_;
  const IpAddress node_, stray_;
  const Endpoint pod_{Actors::ip("10.1.5.9"), 7000}, native_{Actors::ip("10.5.0.9"), 7000};
  Endpoint last_source_ = at_.client, last_destination_ = at_.west, translated_{at_.translation, 40'000};
  std::array<FrameBytes, 4> quotes_;
  std::uint64_t injected_ = 0;
};

}  // namespace
}  // namespace isthmus::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  isthmus::test::Input in(data, size);
  isthmus::test::Sequence(in.byte()).run(in);
  return 0;
}
