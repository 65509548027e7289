// lookup: finds the connections of a whole burst and passes packets whose decision is still valid. A packet without a
// connection, or whose decision is invalid because of a changed epoch, another peer or VNI, or time, goes on to admit.
#include <bit>

#include "dataplane/path/context.h"
#include "dataplane/path/path.h"
#include "dataplane/report/report.h"

namespace isthmus {
namespace {

// Whether the decision is valid for this packet.
bool decision_valid(const FlowTable& flows, const Packet& packet, const DirectionBlock& block, Seconds now) noexcept {
  // An ICMP error may come from a router or node on the path, so admission always checks it.
  return flows.epochs().is_current(block) && block.from == packet.side && block.required_peer == packet.peer &&
         block.required_vni == packet.vni && !packet.icmp_error &&
         (block.valid_until.value() == 0 || block.valid_until >= now);
}

}  // namespace

void lookup(PathContext& context, Burst& burst) noexcept {
  std::array<Packet*, kMaxBurst> packets;
  unsigned count = 0;
  for (Packet& packet : burst) {
    packets[count] = &packet;
    count += packet.alive() ? 1 : 0;
  }
  FlowTable& flows = *context.shared.flows;
  flows.find_each(
      context.worker, count, [&](unsigned i) noexcept -> const FlowKey& { return packets[i]->key; },
      [&](unsigned i) noexcept { return packets[i]->hash; },
      [&](unsigned i) noexcept -> Hit& { return packets[i]->hit; });
  static_assert(kMaxBurst <= 64);
  std::uint64_t closing = 0;  // bitmap by index in `packets`
  unsigned hits = 0, decided = 0;
  for (unsigned i = 0; i < count; ++i) {
    Packet& packet = *packets[i];
    if (!packet.hit) {
      continue;
    }
    ++hits;
    if ((packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kFin | net::Tcp::kRst)) != 0) [[unlikely]] {
      // A SYN may open a new connection with the same key; admission checks that its backend still accepts new ones.
      if ((packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kAck)) == net::Tcp::kSyn) {
        packet.reopens = FlowTable::reopens(packet.hit, packet.tcp_flags);
        continue;
      }
      closing |= std::uint64_t{1} << i;
    }
    if (packet.hit.block != nullptr && decision_valid(flows, packet, *packet.hit.block, context.now)) [[likely]] {
      packet.block = packet.hit.block;
      ++decided;
      if (packet.family == Family::kIpv6) {
        __builtin_prefetch(&packet.block->source);
      }
    }
  }
  for (; closing != 0; closing &= closing - 1) {
    if (const Packet& packet = *packets[static_cast<unsigned>(std::countr_zero(closing))]; packet.block != nullptr) {
      report_closing(context, packet);
    }
  }
  burst.undecided = count - decided;
  context.counters.hits.add(hits);
  context.counters.misses.add(count - hits);
}

}  // namespace isthmus
