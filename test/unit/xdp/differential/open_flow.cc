#include "test/unit/xdp/differential/open_flow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "dataplane/handdown/record.h"
#include "dataplane/packet/flow_key.h"

namespace isthmus::test {
namespace {

constexpr std::uint8_t kPush = 8;

struct Passage {
  DeviceId device;
  Dissected packet;
};

// Sends one packet through the engine; waits for the next hop's address where that is asked for.
std::optional<Passage> send_one(RandomFleet& fleet, const ArrivalShape& shape, std::uint8_t tcp_flags) {
  PacketRecipe recipe;
  recipe.tcp_flags = tcp_flags;
  recipe.payload = shape.protocol == IpProtocol::kTcp && (tcp_flags & kSyn) != 0 ? 0 : 40;
  const BuiltFrame frame = build_frame(shape, recipe, fleet.device(shape.device).mac());
  if (fleet.device(shape.device).without_flows(frame.bytes).verdict != KernelVerdict::kTaken) {
    return std::nullopt;
  }
  std::vector<SentFrame> sent = fleet.engine_turn(shape.device, frame.bytes);
  if (sent.empty()) {
    fleet.serve_neighbours();
    sent = fleet.engine_turn();
  }
  if (sent.size() != 1) {
    return std::nullopt;
  }
  const Dissected packet = dissect(sent.front().bytes);
  if (!packet.errors.empty() || packet.protocol != shape.protocol) {
    return std::nullopt;
  }
  return Passage{sent.front().device, packet};
}

// How answers to what left like this look on arrival.
std::optional<ArrivalShape> answer_to(const RandomFleet& fleet, const Passage& out) {
  ArrivalShape shape;
  shape.device = out.device;
  shape.from = {out.packet.destination, out.packet.destination_port};
  shape.to = {out.packet.source, out.packet.source_port};
  shape.protocol = out.packet.protocol;
  if (out.packet.tunnelled) {
    const PeerEntry* peer = fleet.peer_at(out.packet.outer_destination);
    const FleetPod* pod = fleet.pod_at(out.packet.destination);
    if (peer == nullptr || pod == nullptr) {
      return std::nullopt;
    }
    shape.tunnel = fleet.tunnel_of(*peer, pod->identity);
  }
  return shape;
}

FlowDirection direction_of(RandomFleet& fleet, const ArrivalShape& arrival, const Passage& out) {
  constexpr std::uint8_t kSentTtl = 64;
  FlowDirection direction;
  direction.arrival = arrival;
  FlowClass& is = direction.is;
  if (arrival.tunnel) {
    is.from = arrival.tunnel->kind;
    is.from_underlay = arrival.tunnel->from.family();
  }
  if (out.packet.tunnelled) {
    is.to = out.packet.outer_kind;
    is.to_underlay = out.packet.outer_destination.family();
  }
  is.family = arrival.family();
  is.protocol = arrival.protocol;
  is.on_underlay = !arrival.tunnel && arrival.device == DeviceId{0};
  is.rewrites_source = out.packet.source != arrival.from.address || out.packet.source_port != arrival.from.port;
  is.rewrites_destination =
      out.packet.destination != arrival.to.address || out.packet.destination_port != arrival.to.port;
  is.decrements_ttl = out.packet.ttl != kSentTtl;
  direction.leaves_by = out.device;
  direction.mtu = mtu_behind(fleet, out.device, out.packet);
  return direction;
}

// nullopt: no pod of this home sends there.
std::optional<ArrivalShape> first_packet(RandomFleet& fleet, Dice& dice, std::uint16_t client_port) {
  const FleetPod& client = dice.of(fleet.pods());
  ArrivalShape shape;
  shape.device = DeviceId{client.home == PodHome::kLocal          ? std::uint8_t{1}
                          : client.home == PodHome::kSecondDevice ? std::uint8_t{2}
                                                                  : std::uint8_t{0}};
  shape.from = {client.address, client_port};
  if (dice.one_in(2)) {
    const FleetService& service = dice.of(fleet.services());
    shape.to = service.vip;
    shape.protocol = service.protocol;
  } else {
    shape.to = {dice.of(fleet.pods()).address, static_cast<std::uint16_t>(9000 + dice.below(4))};
    shape.protocol = dice.one_in(2) ? IpProtocol::kTcp : IpProtocol::kUdp;
  }
  if (shape.to.address.family() != client.address.family() || shape.to.address == client.address) {
    return std::nullopt;
  }
  if (const PeerEntry* peer = fleet.sender_of(client.home, dice)) {
    shape.tunnel = fleet.tunnel_of(*peer, client.identity);
  }
  return shape;
}

std::string side(EncapsulationKind kind, Family underlay) {
  const std::string name(encapsulation_info(kind).name);
  return kind == EncapsulationKind::kNone ? name : name + (underlay == Family::kIpv4 ? "/4" : "/6");
}

}  // namespace

std::string FlowClass::text() const {
  return side(from, from_underlay) + (on_underlay ? " on the underlay" : "") + " > " +
         (family == Family::kIpv4 ? "ipv4 " : "ipv6 ") + (protocol == IpProtocol::kTcp ? "tcp" : "udp") +
         (rewrites_source ? " snat" : "") + (rewrites_destination ? " dnat" : "") + (decrements_ttl ? " ttl" : "") +
         " > " + side(to, to_underlay);
}

std::uint8_t flags_of(const FlowClass& is) {
  unsigned flags = is.from != EncapsulationKind::kNone ? ISTHMUS_FROM_TUNNEL
                   : is.on_underlay                    ? ISTHMUS_FROM_UNDERLAY
                                                       : 0;
  for (const RewriteRow& row : kRewriteRows) {
    flags |= row.applies(is) ? row.flag : 0u;
  }
  return static_cast<std::uint8_t>(flags);
}

std::size_t mtu_behind(RandomFleet& fleet, DeviceId device, const Dissected& sent) {
  const std::size_t mtu = fleet.device(device).mtu().value();
  return mtu - (sent.tunnelled ? encapsulation_overhead(sent.outer_kind, sent.outer_destination.family()).value() : 0);
}

std::optional<OpenFlow> open_flow(RandomFleet& fleet, Dice& dice, std::uint16_t client_port) {
  const std::optional<ArrivalShape> request = first_packet(fleet, dice, client_port);
  if (!request) {
    return std::nullopt;
  }
  const std::optional<Passage> first = send_one(fleet, *request, kSyn);
  const std::optional<ArrivalShape> reply = first ? answer_to(fleet, *first) : std::nullopt;
  if (!reply || !send_one(fleet, *reply, kSyn | kAck)) {
    return std::nullopt;
  }
  const std::optional<Passage> there = send_one(fleet, *request, kAck);
  const std::optional<Passage> back = send_one(fleet, *reply, kAck | kPush);
  if (!there || !back) {
    return std::nullopt;
  }
  return OpenFlow{{direction_of(fleet, *request, *there), direction_of(fleet, *reply, *back)}};
}

bool keep_busy(RandomFleet& fleet, const OpenFlow& flow) {
  return std::all_of(flow.directions.begin(), flow.directions.end(), [&](const FlowDirection& direction) {
    return send_one(fleet, direction.arrival, kAck).has_value();
  });
}

void look_up(RandomFleet& fleet, OpenFlow& flow) {
  for (FlowDirection& direction : flow.directions) {
    const ArrivalShape& shape = direction.arrival;
    const FlowKey key(shape.from.address, shape.to.address, Be16::of(shape.from.port), Be16::of(shape.to.port),
                      shape.protocol, Realm{0});
    const isthmus_flow* const entry = fleet.kernel_flows().find(key_of(key));
    direction.handed_down = entry != nullptr ? std::optional(*entry) : std::nullopt;
  }
}

}  // namespace isthmus::test
