#include "perf/settled/records.h"

#include <algorithm>
#include <cstring>

#include "dataplane/encap/encap.h"
#include "dataplane/packet/flow_key.h"
#include "perf/io/traffic.h"

namespace isthmus::perf {
namespace {

constexpr std::uint16_t kTunnelRecord = 1, kHopToFabric = 1, kHopToClients = 2;
constexpr std::uint16_t kMtu = 1500;
constexpr unsigned kEpochsUsed = 4;  // of most decisions: both endpoints, policy, peer

void put(const IpAddress& address, std::uint8_t* to) { std::memcpy(to, address.bytes().data() + 12, 4); }

isthmus_flow_key raw(const FlowKey& key) {
  isthmus_flow_key bytes;
  static_assert(sizeof bytes == sizeof key);
  std::memcpy(&bytes, &key, sizeof bytes);
  return bytes;
}

isthmus_hop hop_to(const MacAddress& to, const MacAddress& from) {
  isthmus_hop hop{};
  std::copy(to.bytes.begin(), to.bytes.end(), hop.addresses);
  std::copy(from.bytes.begin(), from.bytes.end(), hop.addresses + to.bytes.size());
  hop.resolved = 1;
  return hop;
}

// What all flows on a course have in common.
isthmus_flow decision_on(Course course, Work work) {
  const SettledEnds& ends = settled_ends();
  const bool out = course == Course::kToFabric, translated = work == Work::kTranslate;
  const bare_work same = settled_bare(course, work, 60);
  isthmus_flow flow{};
  put(translated ? ends.vip : ends.pod, flow.source);
  put(ends.pod, flow.destination);
  flow.source_port = Be16::of((translated ? ends.vip_port : ends.pod_port).value()).wire();
  flow.destination_port = Be16::of(ends.pod_port.value()).wire();
  flow.next_hop = out ? kHopToFabric : kHopToClients;
  flow.mtu = kMtu;
  flow.tunnel = flow.from = kTunnelRecord;
  flow.vni_word = encap::vni_word(Vni{ends.our_identity});
  flow.from_vni = encap::vni_word(Vni{ends.their_identity});
  flow.ip_delta = same.ip_delta;
  flow.l4_delta = same.l4_delta;
  const unsigned rewrite = !translated ? 0 : out ? ISTHMUS_REWRITE_DESTINATION : ISTHMUS_REWRITE_SOURCE;
  flow.flags =
      static_cast<std::uint8_t>(rewrite | (out ? ISTHMUS_ENCAPSULATE : ISTHMUS_DECREMENT_TTL | ISTHMUS_FROM_TUNNEL));
  flow.device = static_cast<std::uint8_t>(out ? kUnderlayNumber : kLocalNumber);
  return flow;
}

// One flow's decision: of those on the course, with its client.
isthmus_flow decision_of(const isthmus_flow& common, Course course, const SettledFlow& flow, std::uint32_t lease) {
  isthmus_flow one = common;
  const bool out = course == Course::kToFabric;
  put(flow.client, out ? one.source : one.destination);
  (out ? one.source_port : one.destination_port) = one.outer_port = flow.port.wire();
  one.lease = lease;
  for (unsigned i = 0; i < kEpochsUsed; ++i) {
    one.epoch_index[i] = static_cast<std::uint16_t>(lease * (2 * i + 3) * 7919 % ISTHMUS_EPOCH_WORDS);
  }
  return one;
}

}  // namespace

SettledRecords settled_records(Work work, std::uint32_t flows) {
  const SettledEnds& ends = settled_ends();
  const IpAddress& front = work == Work::kTranslate ? ends.vip : ends.pod;
  const Be16 front_port = Be16::of((work == Work::kTranslate ? ends.vip_port : ends.pod_port).value());
  const Be16 pod_port = Be16::of(ends.pod_port.value());
  const isthmus_flow out = decision_on(Course::kToFabric, work), back = decision_on(Course::kFromFabric, work);
  SettledRecords records;
  records.keys.reserve(2 * std::size_t{flows});
  records.flows.reserve(2 * std::size_t{flows});
  for (std::uint32_t n = 0; n < flows; ++n) {
    const SettledFlow flow = settled_flow(n);
    records.keys.push_back(raw(FlowKey(flow.client, front, flow.port, front_port, IpProtocol::kUdp, Realm{})));
    records.flows.push_back(decision_of(out, Course::kToFabric, flow, 2 * n + 1));
    records.keys.push_back(raw(FlowKey(ends.pod, flow.client, pod_port, flow.port, IpProtocol::kUdp, Realm{})));
    records.flows.push_back(decision_of(back, Course::kFromFabric, flow, 2 * n + 2));
  }
  return records;
}

void write_settled_references(KernelFlows& maps, std::span<const isthmus_flow> flows) {
  const SettledEnds& ends = settled_ends();
  const OuterHeader header =
      encap::build(EncapsulationKind::kVxlan, ends.our_tunnel, ends.their_tunnel, ends.tunnel_port);
  isthmus_tunnel& tunnel = maps.tunnels()[kTunnelRecord];
  std::memcpy(tunnel.header, header.bytes.data(), sizeof tunnel.header);
  tunnel.sum = header.sum;
  tunnel.size = static_cast<std::uint16_t>(header.size);
  tunnel.overhead = static_cast<std::uint16_t>(header.overhead);
  put(ends.their_tunnel, tunnel.address);
  tunnel.from_port = Be16::of(ends.tunnel_port.value()).wire();
  tunnel.from_kind = ISTHMUS_VXLAN;
  tunnel.family = ISTHMUS_IPV4;
  maps.hops()[kHopToFabric] = hop_to(ends.to_fabric, ends.underlay);
  maps.hops()[kHopToClients] = hop_to(ends.to_clients, ends.local);
  for (const isthmus_flow& flow : flows) {
    std::uint32_t sum = 0;
    for (const std::uint16_t index : flow.epoch_index) {
      sum += maps.epochs()[index];
    }
    maps.leases()[flow.lease] = {sum, 1, 0, 0};
  }
}

}  // namespace isthmus::perf
