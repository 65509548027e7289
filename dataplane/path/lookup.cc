// lookup: finds the connections of a whole burst, and the decision of each packet's direction. Whether the decision
// holds for the packet is checked by forward, when its block has arrived in the cache.
#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

namespace isthmus {

void lookup(PathContext& context, Burst& burst) noexcept {
  Packet* const packets = burst.packets.data();
  context.shared.flows->find_each(
      context.worker, burst.count, [=](unsigned i) noexcept -> const FlowKey& { return packets[i].key; },
      [=](unsigned i) noexcept { return packets[i].hash; }, [=](unsigned i) noexcept { return packets[i].bucket; },
      [=](unsigned i) noexcept -> DirectionLine*& { return packets[i].line; },
      [=](unsigned i, const DirectionBlock* block) noexcept { packets[i].block = block; });
}

}  // namespace isthmus
