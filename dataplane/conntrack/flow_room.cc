// Room in a table that is nearly full: who has many connections makes room for who has few.
//
// Once less than a sixteenth of the slots is free, a source that has more than an eighth of the table, or a peer that
// has more than half, makes room itself: for each of its new connections an old one of its own is removed. Any other
// source may have as many as there are slots left, and some at least (the dynamic threshold of Choudhury and Hahne,
// 1998), so that the last ones are for those who have few. Once less than a sixty-fourth is free, one of a source that
// has more than twice as many as the newcomer's, or of a peer that has more than half, makes room for theirs. Of a few
// that are drawn at random it is that with the highest product of idle time and of its source's number; where none is
// found, only a source that has hardly any is let in. One source or peer, or many of them, can thus have the table as
// long as nobody else wants it, and no longer. A peer is another cluster, with all its gateways, or a node of our own.
//
// A source port of ours is given up in the same way, where all that were tried are taken.
#include <algorithm>
#include <array>

#include "dataplane/base/prefetch.h"
#include "dataplane/conntrack/flow_table.h"

namespace isthmus {
namespace {

constexpr unsigned kDraws = 16;
constexpr std::uint32_t kSourceShare = 8, kPeerShare = 2, kFewShare = 256;  // parts of the table
constexpr std::uint32_t kFewAtLeast = 64;
constexpr std::uint32_t kPortsAtLeast = 8;  // with fewer half-open connections nobody gives up a port
constexpr std::uint32_t kOpenAtLeast = 16;  // with fewer connections nobody gives up one that is open
constexpr std::uint32_t kLastSlots = 64;    // one in so many

}  // namespace

std::uint32_t FlowTable::yields(const Hit& taken, const NewConnection& newcomer) const noexcept {
  const std::uint16_t its = HalfOpen::holder_of(taken.shared()).source, own = holder_of(newcomer).source;
  const bool gives = taken.connection->opened()
                         ? holders_.all(its) > std::max(2 * holders_.all(own), kOpenAtLeast)
                         : holders_.half_open(its) > std::max(2 * holders_.half_open(own), kPortsAtLeast);
  return gives ? holders_.all(its) : 0;
}

bool FlowTable::displace(WorkerId worker, const Hit& taken, const NewConnection& newcomer) noexcept {
  const FlowRef reference = ref(taken);
  if (yields(taken, newcomer) == 0) {
    return false;
  }
  if (!taken.connection->opened()) {
    return evict(worker, {reference.slot, reference.sequence});
  }
  const bool removed = remove_if(worker, taken.slot, {.reference = &reference});
  state(worker).evicted.add(removed ? 1 : 0);
  return removed;
}

bool FlowTable::make_room(WorkerId worker, Holder newcomer, Seconds now) noexcept {
  WorkerState& own = state(worker);
  const auto has_share = [&](std::uint16_t peer) { return peer != 0 && holders_.all(peer) >= capacity_ / kPeerShare; };
  const std::uint32_t free = slots_->available(), few = std::max(capacity_ / kFewShare, kFewAtLeast);
  const std::uint32_t held = holders_.all(newcomer.source);
  const bool over_source = held >= capacity_ / kSourceShare, over_peer = has_share(newcomer.peer);
  const bool itself = over_source || over_peer, fits = !itself && held < std::max(free, few);
  if (fits && free >= capacity_ / kLastSlots) {
    return true;
  }
  std::array<std::uint32_t, kDraws> drawn;
  for (std::uint32_t& slot : drawn) {
    slot = own.draws.below(capacity_);
    const Connection& connection = mapping_.connection(slot);
    prefetch_line(&connection.shared);
    prefetch_line(&connection.lines[0]);
    prefetch_line(&connection.lines[1]);
  }
  FlowRef victim;
  std::uint64_t heaviest = 0;
  for (const std::uint32_t slot : drawn) {
    const Connection& connection = mapping_.connection(slot);
    const std::uint32_t sequence = connection.shared.sequence.load(std::memory_order_acquire);
    if (connection.shared.checksum.load(std::memory_order_acquire) == 0) {
      continue;
    }
    const Holder its = HalfOpen::holder_of(connection.shared);
    const std::uint32_t its_number = holders_.all(its.source);
    const bool yields =
        itself ? (over_source && its.source == newcomer.source) || (over_peer && its.peer == newcomer.peer)
               : its_number > std::max(2 * held, kOpenAtLeast) || (its.peer != newcomer.peer && has_share(its.peer));
    const std::uint64_t weight = (std::uint64_t{lifecycle::idle(connection, now)} + 1) * its_number;
    if (yields && weight > heaviest) {
      heaviest = weight;
      victim = {slot, sequence};
    }
  }
  if (heaviest != 0 && remove_if(worker, victim.slot, {.reference = &victim})) {
    own.evicted.add();
    return true;
  }
  return fits && held < kOpenAtLeast;
}

}  // namespace isthmus
