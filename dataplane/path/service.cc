// service: VIP → backend, by Maglev as Cilium does it. A tracked flow keeps its backend while that stands.
#include <algorithm>

#include "dataplane/api/maglev.h"
#include "dataplane/path/admission.h"

namespace isthmus {
namespace {

const BackendEntry* standing(const BackendSet& set, const IpAddress& address, Be16 port) noexcept {
  const auto at = std::find_if(set.backends.begin(), set.backends.end(), [&](const BackendEntry& b) {
    return b.address == address && b.port.value() == port.host();
  });
  return at == set.backends.end() ? nullptr : &*at;
}

bool takes_new(const BackendSet& set, const BackendEntry* backend) noexcept {
  const auto index = static_cast<std::uint16_t>(backend - set.backends.data());
  return std::find(set.ring.begin(), set.ring.end(), index) != set.ring.end();
}

const FrontendEntry* frontend_of(const PathContext& context, const Admission& admission) noexcept {
  if (const Foreseen* known = foreseen_of(context, admission)) {
    return known->frontend;
  }
  const FlowKey& forward = admission.forward;
  const FrontendKey key{forward.realm, forward.destination, forward.protocol, L4Port{forward.destination_port.host()}};
  return context.snapshot->shard(key.realm, key.vip).find(key);
}

// The connection's own backend, if it may keep it. Replies go on even after it has left the service.
ServiceResult keep_backend(Admission& admission) noexcept {
  const bool forward = admission.direction == Direction::kForward;
  if (admission.frontend == nullptr) {
    return forward ? ServiceResult{DropReason::k_no_frontend} : ServiceResult{};
  }
  const BackendSet& set = *admission.frontend->backends;
  admission.backend = standing(set, admission.reply.source, admission.reply.source_port);
  if (!forward) {
    return {};
  }
  const bool syn = admission.packet.hit.connection->protocol() == IpProtocol::kTcp &&
                   (admission.packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kAck)) == net::Tcp::kSyn;
  if (admission.backend == nullptr || (syn && !takes_new(set, admission.backend))) {
    return {std::nullopt, ServiceOutcome::kChooseAgain};
  }
  return {};
}

}  // namespace

const BackendEntry* BackendWalk::next() noexcept {
  // Neighbouring slots may name the same backend; a whole turn of the ring is the end.
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

BackendWalk walk_backends(const PathContext& context, const Admission& admission) noexcept {
  BackendWalk walk;
  const FlowKey& key = admission.forward;
  walk.set = admission.frontend->backends.get();
  const Foreseen* known = foreseen_of(context, admission);
  if (known != nullptr && !known->hit) {
    walk.slot = known->slot;
  } else if (!walk.set->ring.empty()) {
    const Be16 client_port = admission.frontend->client_affinity ? Be16{} : key.source_port;
    walk.slot =
        maglev_packet_hash(admission.packet.family, key.source, client_port, key.destination_port, key.protocol) %
        static_cast<std::uint32_t>(walk.set->ring.size());
  }
  return walk;
}

ServiceResult service(PathContext& context, Admission& admission) noexcept {
  const FlowKey& forward = admission.forward;
  admission.frontend = frontend_of(context, admission);
  const ServiceId id = admission.frontend != nullptr ? admission.frontend->service
                       : admission.existing          ? admission.packet.hit.shared().service
                                                     : kNoService;
  context.shared.flows->epochs().sample(admission.block, kServicePlace,
                                        id == kNoService ? EpochIndex{0} : EpochTable::of_service(id));
  if (admission.existing) {
    return id == kNoService ? ServiceResult{} : keep_backend(admission);
  }
  if (admission.frontend == nullptr) {
    const bool vip =
        context.snapshot->shard(forward.realm, forward.destination).has_vip(forward.realm, forward.destination);
    return vip ? ServiceResult{DropReason::k_no_frontend} : ServiceResult{};
  }
  if (admission.frontend->backends->ring.empty()) {
    return {DropReason::k_no_backend};
  }
  return {};
}

}  // namespace isthmus
