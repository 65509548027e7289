// forward: carries out the decisions that hold, one packet at a time so that its headers and its block are loaded once.
// Packets without one are left to decide.
#include "dataplane/path/forward.h"

#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// A packet whose decision does not hold, or that parse has dropped or consumed.
void leave(PathContext& context, Burst& burst, unsigned index, std::uint64_t& misses) noexcept {
  Packet& packet = burst.packets[index];
  if (packet.alive()) {
    misses += packet.line == nullptr ? 1 : 0;
    burst.undecided.add(index);
    return;
  }
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
  std::uint64_t misses = 0, dead = 0;
  burst.undecided.count = 0;
  for (unsigned i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    const DirectionBlock* block = packet.block;
    if (block == nullptr || block->origin != packet.origin ||
        (block->verified_at != generation && !epochs.verify(*block, generation, context.now)) || !packet.alive())
        [[unlikely]] {
      dead += packet.alive() ? 0 : 1;
      leave(context, burst, i, misses);
    } else if (packet.ordinary()) [[likely]] {
      if (!forwarder.forward_ordinary(packet, *block)) [[unlikely]] {
        finish_drop(context, burst, packet);
      }
    } else if (!usable_for_special(context, packet)) {
      burst.undecided.add(i);
    } else if (!forwarder(packet, *block)) {
      finish_drop(context, burst, packet);
    }
  }
  context.counters.misses.add(misses);
  context.counters.hits.add(burst.count - misses - dead);
}

}  // namespace isthmus
