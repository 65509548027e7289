// service: VIP → backend, by Maglev hashing as in Cilium. An existing connection keeps its backend while that is part
// of the service.
#include <algorithm>

#include "dataplane/api/maglev.h"
#include "dataplane/slowpath/admission.h"

namespace isthmus {
namespace {

// The backend of the set with this address and port, or nullptr.
const BackendEntry* find_backend(const BackendSet& set, const IpAddress& address, Be16 port) noexcept {
  const auto at = std::find_if(set.backends.begin(), set.backends.end(), [&](const BackendEntry& b) {
    return b.address == address && b.port.value() == port.host();
  });
  return at == set.backends.end() ? nullptr : &*at;
}

// Whether the backend is on the ring; a draining one is not.
bool accepts_new(const BackendSet& set, const BackendEntry* backend) noexcept {
  const auto index = static_cast<std::uint16_t>(backend - set.backends.data());
  return std::find(set.ring.begin(), set.ring.end(), index) != set.ring.end();
}

const FrontendEntry* frontend_of(const SlowContext& context, const Admission& admission) noexcept {
  if (const PrefetchState* state = prefetched_of(context, admission)) {
    return state->frontend;
  }
  const FlowKey& forward = admission.forward;
  const FrontendKey key{forward.realm, forward.destination(), forward.protocol,
                        L4Port{forward.destination_port.host()}};
  return context.snapshot->shard(key.realm, key.vip).find(key);
}

// Checks that an existing connection may keep its backend. Replies pass even after the backend has left the service.
ServiceResult keep_backend(Admission& admission) noexcept {
  const bool forward = admission.direction == Direction::kForward;
  if (admission.frontend == nullptr) {
    return forward ? ServiceResult{DropReason::kNoFrontend} : ServiceResult{};
  }
  const BackendSet& set = *admission.frontend->backends;
  admission.backend = find_backend(set, admission.reply.source(), admission.reply.source_port);
  if (!forward) {
    return {};
  }
  const bool syn = admission.hit.connection->protocol() == IpProtocol::kTcp &&
                   (admission.packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kAck)) == net::Tcp::kSyn;
  if (admission.backend == nullptr || (syn && !accepts_new(set, admission.backend))) {
    return {std::nullopt, ServiceOutcome::kReselect};
  }
  return {};
}

}  // namespace

const BackendEntry* BackendWalk::next() noexcept {
  // Adjacent slots may name the same backend. Ends after one turn of the ring.
  if (set == nullptr) {
    return nullptr;
  }
  const auto size = static_cast<std::uint32_t>(set->ring.size());
  while (steps < size) {
    const BackendEntry& candidate = set->backends[set->ring[slot]];
    slot = slot + 1 == size ? 0 : slot + 1;
    ++steps;
    if (&candidate != last) {
      last = &candidate;
      return &candidate;
    }
  }
  return nullptr;
}

BackendWalk walk_backends(const SlowContext& context, const Admission& admission) noexcept {
  BackendWalk walk;
  const FlowKey& key = admission.forward;
  walk.set = admission.frontend->backends.get();
  const PrefetchState* state = prefetched_of(context, admission);
  if (state != nullptr && !state->hit) {
    walk.slot = state->slot;
  } else if (!walk.set->ring.empty()) {
    const Be16 client_port = admission.frontend->client_affinity ? Be16{} : key.source_port;
    walk.slot =
        maglev_packet_hash(admission.packet.family, key.source(), client_port, key.destination_port, key.protocol) %
        static_cast<std::uint32_t>(walk.set->ring.size());
  }
  return walk;
}

ServiceResult service(SlowContext& context, Admission& admission) noexcept {
  const FlowKey& forward = admission.forward;
  admission.frontend = frontend_of(context, admission);
  const ServiceId id = admission.frontend != nullptr ? admission.frontend->service
                       : admission.existing          ? admission.hit.shared().service
                                                     : kNoService;
  context.shared.flows->epochs().sample(admission.block, kServiceEpoch,
                                        id == kNoService ? EpochIndex{0} : EpochTable::of_service(id));
  if (admission.existing) {
    return id == kNoService ? ServiceResult{} : keep_backend(admission);
  }
  if (admission.frontend == nullptr) {
    const bool vip =
        context.snapshot->shard(forward.realm, forward.destination()).has_vip(forward.realm, forward.destination());
    return vip ? ServiceResult{DropReason::kNoFrontend} : ServiceResult{};
  }
  if (admission.frontend->backends->ring.empty()) {
    return {DropReason::kNoLiveBackend};
  }
  return {};
}

}  // namespace isthmus
