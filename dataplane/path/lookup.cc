// lookup: finds the connections of a whole burst, and the decision of each packet's direction. Whether the decision
// holds for the packet is checked by forward, when its block has arrived in the cache.
#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

namespace isthmus {

void lookup(PathContext& context, Burst& burst) noexcept {
  std::array<Packet*, kMaxBurst> packets;
  unsigned count = 0;
  for (Packet& packet : burst) {
    packets[count] = &packet;
    count += packet.alive() ? 1 : 0;
  }
  unsigned hits = 0;
  context.shared.flows->find_each(
      context.worker, count, [&](unsigned i) noexcept -> const FlowKey& { return packets[i]->key; },
      [&](unsigned i) noexcept { return packets[i]->hash; },
      [&](unsigned i, DirectionLine* line, const DirectionBlock* block) noexcept {
        packets[i]->line = line;
        packets[i]->block = block;
        hits += line != nullptr ? 1 : 0;
        if (packets[i]->family == Family::kIpv6 && block != nullptr) {
          __builtin_prefetch(&block->source);
        }
      });
  context.counters.hits.add(hits);
  context.counters.misses.add(count - hits);
}

}  // namespace isthmus
