// service: VIP → backend, by Maglev hashing as in Cilium. An existing connection keeps its backend while that is part
// of the service.
#include <algorithm>
#include <utility>

#include "dataplane/api/maglev.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/echo.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// Whether the connection was translated to a backend when it was opened.
bool has_backend(const DecisionInput& in, const Decision& decision) noexcept {
  return decision.reply->source_port != decision.forward->destination_port ||
         decision.reply->source() != in.snapshot.aliases.to_own(decision.forward->destination());
}

bool is_new_syn(const PacketFacts& facts) noexcept {
  return facts.key.protocol == IpProtocol::kTcp && !facts.icmp_error && tcp_flag::is_opening(facts.tcp_flags);
}

// The client of a connection, by either of its addresses.
bool serves_client(const DecisionInput& in, const Frontend& frontend, const IpAddress& client) noexcept {
  return frontend.serves(client, fleet_form(in.snapshot, client));
}

// An existing connection keeps its backend, and ends where its address has become a VIP or has ceased to be one; but
// replies pass even after the backend has left the service. A forward packet that cannot keep its backend opens a new
// connection.
Refusal keep_backend(const DecisionInput& in, Decision& decision, bool is_vip) noexcept {
  const bool forward = decision.direction == Direction::kForward;
  const bool direct = !has_backend(in, decision);
  if (decision.frontend == nullptr) {
    const bool ends = direct ? is_vip : forward;
    return ends ? Refusal{DropReason::kNoFrontend} : std::nullopt;
  }
  const BackendSet& set = decision.frontend->backends_for(in.facts.origin.side());
  const BackendIndex& index = decision.frontend->index_for(in.facts.origin.side());
  decision.backend = index.find(set, decision.reply->source(), L4Port{decision.reply->source_port.host()});
  const bool gone = decision.backend == nullptr;
  if (!forward) {
    return direct && gone ? Refusal{DropReason::kNoFrontend} : std::nullopt;
  }
  if (gone || (is_new_syn(in.facts) && !index.accepts_new(set, *decision.backend))) {
    decision.opens = !in.facts.icmp_error;
    decision.forward = &in.facts.key;
    return decision.opens ? std::nullopt : Refusal{DropReason::kUnsupportedIcmp};
  }
  return std::nullopt;
}

}  // namespace

const BackendEntry* BackendWalk::next() noexcept {
  // Adjacent slots may name the same backend. Ends after one turn of the ring at most, and where one backend is alone
  // for so long that it has nearly all the slots.
  constexpr std::uint32_t kLongestRun = 1024;
  if (kept != nullptr) {
    last = kept;
    return std::exchange(kept, nullptr);
  }
  const auto size = static_cast<std::uint32_t>(set->ring.size());
  if (last != nullptr && single) {
    return nullptr;
  }
  const std::uint32_t end = std::min(size, steps + kLongestRun);
  while (steps < end) {
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

namespace {

// What the client keeps of a service with session affinity, while it takes new connections.
const BackendEntry* kept_backend(const DecisionInput& in, const Decision& decision) noexcept {
  const Frontend& frontend = *decision.frontend;
  if (!frontend.client_affinity) {
    return nullptr;
  }
  const auto kept =
      in.tables.affinities.find(frontend.key, decision.forward->source(), in.facts.now, frontend.affinity_timeout);
  if (!kept) {
    return nullptr;
  }
  const BackendSet& set = frontend.backends_for(in.facts.origin.side());
  const BackendIndex& index = frontend.index_for(in.facts.origin.side());
  const BackendEntry* backend = index.find(set, kept->address, kept->port);
  return backend != nullptr && index.accepts_new(set, *backend) ? backend : nullptr;
}

}  // namespace

BackendWalk walk_backends(const DecisionInput& in, const Decision& decision) noexcept {
  BackendWalk walk;
  const Side client = in.facts.origin.side();
  walk.set = &decision.frontend->backends_for(client);
  walk.single = decision.frontend->index_for(client).accepting() == 1;
  walk.kept = kept_backend(in, decision);
  const Hints* hints = in.facts.hints;
  if (hints != nullptr && hints->backend != nullptr && hints->snapshot == &in.snapshot) {
    walk.slot = hints->slot;
  } else if (!walk.set->ring.empty()) {
    walk.slot = ring_slot(*decision.frontend, client, *decision.forward);
  }
  return walk;
}

std::uint32_t ring_slot(const Frontend& frontend, Side client, const FlowKey& key) noexcept {
  const Be16 client_port = frontend.client_affinity ? Be16{} : key.source_port;
  return maglev_packet_hash(key.family, key.source(), client_port, key.destination_port, key.protocol) %
         static_cast<std::uint32_t>(frontend.backends_for(client).ring.size());
}

namespace {

// A ping from our own cluster, or from a cluster that needs no tunnel to us: nobody else would answer it for the VIP.
bool pings_from_here(const DecisionInput& in, const Decision& decision) noexcept {
  const FlowKey& key = in.facts.key;
  const EngineOptions& options = in.tables.options;
  return is_icmp(key.protocol) && !in.facts.icmp_error && decision.direction == Direction::kForward &&
         is_echo_request(key.source_port, key.destination_port) && options.echo_answers_per_second != 0 &&
         !in.snapshot.is_outside(in.facts.origin, options.cluster);
}

}  // namespace

// The destination of a direct connection, which may become a VIP, has its own word (look_up); so has a VIP without a
// service on this port. A service has the service's word.
Refusal find_service(const DecisionInput& in, Decision& decision) noexcept {
  const FlowKey& forward = *decision.forward;
  const Hints* hints = in.facts.hints;
  const IpAddress vip = forward.destination();
  const std::uint64_t hash = hints != nullptr ? hints->vip_hash : address_hash(forward.realm, vip);
  const FrontendShard& shard = in.snapshot.shard(hash);
  if (hints != nullptr && hints->snapshot == &in.snapshot) {
    decision.frontend = hints->frontend;
  } else {
    decision.frontend =
        shard.find({forward.realm, vip, forward.protocol, L4Port{forward.destination_port.host()}}, hash);
  }
  if (decision.frontend != nullptr) {
    in.tables.epochs.depend(decision.depends, EpochTable::of_service(decision.frontend->service));
    if (decision.direction == Direction::kForward && !serves_client(in, *decision.frontend, forward.source())) {
      return DropReason::kSourceRange;
    }
    if (!decision.opens) {
      return keep_backend(in, decision, true);
    }
    const bool none = decision.frontend->backends_for(in.facts.origin.side()).ring.empty();
    return none ? Refusal{DropReason::kNoLiveBackend} : std::nullopt;
  }
  const bool is_vip = shard.has_vip(forward.realm, vip, hash);
  if (is_vip && pings_from_here(in, decision)) {
    decision.echo = true;
    return DropReason::kNoFrontend;
  }
  if (!decision.opens) {
    in.tables.epochs.depend_once(decision.depends, EpochTable::of_address(hash));  // a service may come, or return
    return keep_backend(in, decision, is_vip);
  }
  look_up(in, decision, vip, hash, decision.destination);
  return is_vip ? Refusal{DropReason::kNoFrontend} : std::nullopt;
}

}  // namespace isthmus
