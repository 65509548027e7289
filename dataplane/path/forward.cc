// forward: carries out the decisions that hold, one packet at a time so that its headers and its block are loaded once.
// Packets without one are left to decide.
#include "dataplane/path/forward.h"

#include "dataplane/path/path.h"

namespace isthmus {

void forward(PathContext& context, Burst& burst) noexcept {
  const EpochTable& epochs = context.shared.flows->epochs();
  const std::uint32_t generation = epochs.generation();
  Forwarder forwarder(context);
  burst.undecided.count = 0;
  for (unsigned i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    if (packet.alive()) [[likely]] {
      const DirectionBlock* block = packet.block;
      if (block == nullptr || block->origin != packet.origin ||
          (block->verified_at != generation && !epochs.verify(*block, generation, context.now)) ||
          (packet.special() && !usable_for_special(context, packet))) [[unlikely]] {
        burst.undecided.add(i);
        continue;
      }
      forwarder(packet, *block);
    }
    if (packet.verdict == Verdict::kDrop) [[unlikely]] {
      finish_drop(context, burst, packet);
    }
  }
}

}  // namespace isthmus
