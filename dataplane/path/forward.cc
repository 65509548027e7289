// forward: carries out the decisions that hold, one packet at a time so that its headers and its block are loaded once.
// Packets without one are left to decide.
#include "dataplane/path/forward.h"

#include <algorithm>

#include "dataplane/base/prefetch.h"
#include "dataplane/path/host.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// Blocks are prefetched again so many packets before their use: in a large table a part of what lookup has prefetched
// is not in the first-level cache any more, or never came (cycles.md).
constexpr unsigned kBlocksAhead = 8;

struct LookupTally {
  std::uint64_t misses = 0;  // packets without a connection
  std::uint64_t dead = 0;    // packets that parse has dropped or consumed, or that are the kernel's
};

// A packet whose decision does not hold, or with which parse is done.
void leave(PathContext& context, Burst& burst, Packet& packet, LookupTally& tally) noexcept {
  if (packet.alive()) {
    tally.misses += packet.line == nullptr ? 1 : 0;
    burst.undecided.add(static_cast<unsigned>(&packet - burst.packets.data()));
    return;
  }
  ++tally.dead;
  packet.line = nullptr;  // it was looked up with an old key
  packet.block = nullptr;
  if (packet.verdict == Verdict::kDrop) {
    finish_drop(context, burst, packet);
  }
}

}  // namespace

void forward(PathContext& context, Burst& burst) noexcept {
  const EpochTable& epochs = context.shared.flows->epochs();
  const std::uint32_t generation = epochs.generation();
  Forwarder forwarder(context);
  LookupTally tally;
  burst.undecided.count = 0;
  Packet* packet = burst.packets.data();
  const Packet* const last = packet + burst.count - 1;
  for (Packet* const end = packet + burst.count; packet != end; ++packet) {
    prefetch_line_once(std::min<const Packet*>(packet + kBlocksAhead, last)->block);
    const DirectionBlock* block = packet->block;
    if (block->origin != packet->origin || (!EpochTable::verified_in(*block, generation) &&
                                            !epochs.verify(*block, generation, context.now))) [[unlikely]] {
      leave(context, burst, *packet, tally);
    } else if (packet->ordinary()) [[likely]] {
      if (!forwarder.forward_ordinary(*packet, *block)) [[unlikely]] {
        finish_drop(context, burst, *packet);
      }
    } else if (!packet->alive() || !usable_for_special(context, *packet)) {
      leave(context, burst, *packet, tally);
    } else if (!forwarder(*packet, *block)) {
      finish_drop(context, burst, *packet);
    }
  }
  if (context.host.rules != nullptr) [[unlikely]] {
    tally.dead += leave_to_host(context, burst, tally.misses);
  }
  context.counters.misses.add(tally.misses);
  context.counters.hits.add(burst.count - tally.misses - tally.dead);
}

}  // namespace isthmus
