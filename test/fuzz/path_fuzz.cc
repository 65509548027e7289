// Sends arbitrary bytes as frames from either device through the whole path. Nothing may crash, no frame may be lost or
// counted twice, and every frame sent out is a well-formed IP packet. The input is a sequence of records, a big-endian
// 16-bit word (device bit, variant, length) followed by that many bytes, so that one input can open a connection and
// then use it. The variant of the configuration has a gateway of its own: encapsulation and family of its tunnels.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/api/engine.h"
#include "dataplane/io/memory/memory_device.h"

namespace {

using namespace isthmus;

struct Variant {
  EncapsulationKind kind;
  const char* ours;
  const char* peer;
  const char* node;  // of our own cluster, whose pods 10.1.5.0/24 are reached in its tunnel
};
constexpr Variant kVariants[] = {
    {EncapsulationKind::kVxlan, "192.0.2.1", "192.0.2.2", "192.0.2.50"},
    {EncapsulationKind::kGeneve, "192.0.2.1", "192.0.2.2", "192.0.2.50"},
    {EncapsulationKind::kVxlan, "2001:db8::1", "2001:db8::2", "2001:db8::50"},
    {EncapsulationKind::kGeneve, "2001:db8::1", "2001:db8::2", "2001:db8::50"},
};

struct Gateway {
  std::unique_ptr<Engine> engine;
  MemoryDevice* underlay = nullptr;
  MemoryDevice* local = nullptr;

  explicit Gateway(const Variant& variant) {
    EngineOptions options;
    options.drive_by_caller = true;
    options.keep_state = false;
    options.cluster = ClusterId{1};
    options.tunnel = tunnel_end(*IpAddress::parse(variant.ours), variant.kind);
    options.translation_ipv4 = IpAddress::parse("10.1.255.1");
    options.connections = 4096;
    options.frames = 1024;
    engine = std::move(*Engine::create(options));
    underlay = add("underlay");
    local = add("local");
    if (!engine->start()) {
      __builtin_trap();
    }
    publish(variant);
  }

  MemoryDevice* add(const char* name) {
    MemoryDeviceOptions options;
    options.name = name;
    auto device = std::move(*MemoryDevice::create(options));
    MemoryDevice* raw = device.get();
    if (!engine->add_device(std::move(device))) {
      __builtin_trap();
    }
    return raw;
  }

  void publish(const Variant& variant) {
    const AdjacencyId hop = engine->adjacency(DeviceId{0}, *IpAddress::parse("192.0.2.254"));
    const AdjacencyId pods = engine->adjacency(DeviceId{1}, *IpAddress::parse("169.254.0.1"));
    engine->set_adjacency(hop, MacAddress::parse("02:00:00:00:00:01"));
    engine->set_adjacency(pods, MacAddress::parse("02:00:00:00:00:02"));
    TableDelta delta;
    const auto peer = [&](std::uint32_t id, std::uint16_t cluster, const char* at, bool gateway) {
      const L4Port port = encapsulation_info(variant.kind).default_port;
      delta.upsert_peers.push_back(
          {PeerId{id}, ClusterId{cluster}, *IpAddress::parse(at), port, hop, gateway, variant.kind, variant.kind});
    };
    peer(1, 2, variant.peer, true);
    peer(2, 1, variant.node, false);
    delta.clusters = {
        {ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16"), *Prefix::parse("fd00:1::/48")}, {}},
        {ClusterId{2}, false, true, {*Prefix::parse("10.2.0.0/16"), *Prefix::parse("fd00:2::/48")}, {PeerId{1}}},
        {ClusterId{3}, false, true, {*Prefix::parse("10.3.0.0/16"), *Prefix::parse("fd00:3::/48")}, {}}};
    delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, pods},
                          {*Prefix::parse("fd00:1::/48"), DeviceId{1}, pods},
                          {*Prefix::parse("10.1.5.0/24"), DeviceId{1}, pods, PeerId{2}},
                          {*Prefix::parse("10.3.0.0/16"), DeviceId{0}, hop, kNoPeer, true},
                          {*Prefix::parse("fd00:3::/48"), DeviceId{0}, hop, kNoPeer, true}};
    const auto service = [&](const char* vip, const char* backend, std::uint16_t cluster, std::uint32_t id,
                             IpProtocol protocol, std::uint16_t port) {
      auto set = std::make_shared<BackendSet>();
      set->backends = {{BackendId{id}, *IpAddress::parse(backend), L4Port{port}, ClusterId{cluster}}};
      set->ring = {0};
      delta.upsert_frontends.push_back(
          {{Realm{0}, *IpAddress::parse(vip), protocol, L4Port{80}}, ServiceId{id}, false, Seconds{}, std::move(set)});
    };
    service("10.200.0.10", "10.2.0.10", 2, 1, IpProtocol::kTcp, 8080);
    service("10.200.0.11", "10.1.0.20", 1, 2, IpProtocol::kTcp, 8080);
    // Those that inputs with a DSR option go to.
    service("10.200.0.12", "10.1.0.20", 1, 3, IpProtocol::kTcp, 8081);
    service("10.200.0.12", "10.1.0.20", 1, 4, IpProtocol::kUdp, 53);
    service("fd00:ff::12", "fd00:1::20", 1, 5, IpProtocol::kTcp, 8081);
    if (!engine->publish(delta)) {
      __builtin_trap();
    }
    const auto node = [](const char* address, std::uint16_t cluster) {
      return EndpointEntry{Realm{0}, *IpAddress::parse(address), ClusterId{cluster}, Identity{6}, kNoPeer};
    };
    const EndpointEntry nodes[] = {node("10.1.9.9", 1), node("fd00:1::99", 1), node("10.2.9.9", 2),
                                   node("fd00:2::99", 2)};
    engine->upsert_endpoints(nodes);
  }

  [[nodiscard]] std::uint64_t dropped() const {
    const EngineCounters c = engine->counters();
    std::uint64_t sum = 0;
    for (const DropCount& drop : c.drops) {
      sum += drop.packets;
    }
    return sum;
  }
};

// The IP length of a frame sent out must match the length of the frame, if that is not the shortest.
void check_frame(std::span<const std::uint8_t> frame) {
  if (frame.size() < 34) {
    __builtin_trap();
  }
  const bool v4 = frame[12] == 0x08 && frame[13] == 0x00;
  const std::size_t bytes = v4 ? static_cast<std::size_t>(frame[16]) << 8 | frame[17]
                               : (static_cast<std::size_t>(frame[18]) << 8 | frame[19]) + 40;
  if (std::max<std::size_t>(bytes + 14, kShortestFrame) != frame.size()) {
    __builtin_trap();
  }
}

// What a device has sent.
struct Taken {
  std::uint64_t frames = 0;
  std::size_t longest = 0;  // bytes
};
Taken take_all(MemoryDevice& device) {
  Taken taken;
  while (auto frame = device.take()) {
    check_frame(*frame);
    ++taken.frames;
    taken.longest = std::max(taken.longest, frame->size());
  }
  return taken;
}

// An ICMP error about no connection: its headers, and those that it quotes with eight bytes of L4, in a tunnel or not.
constexpr std::size_t kTunnel = 14 + 40 + 8 + 8, kLongestStray = kTunnel + 14 + 40 + 8 + 40 + 8;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::array<std::unique_ptr<Gateway>, std::size(kVariants)> gateways;
  while (size >= 2) {
    const unsigned head = static_cast<unsigned>(data[0]) << 8 | data[1];
    const std::size_t variant = (head >> 12) & 3;
    if (gateways[variant] == nullptr) {
      gateways[variant] = std::make_unique<Gateway>(kVariants[variant]);
    }
    Gateway& gateway = *gateways[variant];
    const std::size_t length = std::min<std::size_t>(head & 0x7ff, size - 2);
    MemoryDevice& device = (head & 0x8000) != 0 ? *gateway.underlay : *gateway.local;
    const EngineCounters before = gateway.engine->counters();
    const std::uint64_t dropped = gateway.dropped();
    if (length != 0 && device.inject({data + 2, length})) {
      gateway.engine->run_round(WorkerId{0});
      const EngineEvents events = gateway.engine->poll_events();
      const EngineCounters after = gateway.engine->counters();
      const Taken underlay = take_all(*gateway.underlay), local = take_all(*gateway.local);
      const std::uint64_t out = underlay.frames + local.frames;
      if (after.icmp_stray != before.icmp_stray && std::max(underlay.longest, local.longest) > kLongestStray) {
        __builtin_trap();
      }
      const std::uint64_t icmp_errors = (after.icmp_sent - before.icmp_sent) + (after.icmp_copied - before.icmp_copied);
      const std::uint64_t answers = events.probe_answers.size();
      // Fragments that wait now and did not before; and those of a tunnel packet, less the one that it has become.
      const std::uint64_t waiting = after.fragments_waiting - before.fragments_waiting;
      const std::uint64_t joined =
          (after.fragments_joined - before.fragments_joined) - (after.assembled - before.assembled);
      const std::uint64_t made = (after.fragments_made - before.fragments_made) -
                                 (after.packets_fragmented - before.packets_fragmented) -
                                 (after.tunnels_fragmented - before.tunnels_fragmented);
      const std::uint64_t claims = after.path_mtu_claims - before.path_mtu_claims;
      // Each frame received is sent out, dropped, consumed as a probe answer or as a router's word of the MTU, or a
      // fragment that waits or is joined to others; ICMP errors, and all fragments of a packet but one, are sent in
      // addition.
      if (out - icmp_errors - made + (gateway.dropped() - dropped) + answers + claims + waiting + joined != 1) {
        __builtin_trap();
      }
    }
    data += 2 + length;
    size -= 2 + length;
  }
  return 0;
}
