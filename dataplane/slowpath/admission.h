// Admission: decides for the first packet of a direction, and for packets whose cached decision is no longer valid.
//   validate_source → service → policy → route, then insert the connection or replace its decision.
// Each step reads the snapshot and the endpoint table and fills in an Admission; nothing is published before every step
// has passed. An epoch word is sampled before the data it guards is read (the order is explained in admit.cc).
// Thread: the worker, inside its read section.
#pragma once

#include <optional>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/packet.h"
#include "dataplane/slowpath/context.h"

namespace isthmus {

// The epoch slots of a direction block. A connection between two endpoints of this cluster has two policy subjects and
// no peer, so the destination's subject uses the peer's slot.
enum EpochSlot : std::size_t { kSourceEpoch, kDestinationEpoch, kServiceEpoch, kSubjectEpoch, kPeerEpoch };

struct Admission {
  Admission(Packet& p, Hit& h, const PrefetchState* state = nullptr) noexcept : packet(p), hit(h), prefetched(state) {}

  Packet& packet;
  Hit& hit;                         // its connection, if any
  const PrefetchState* prefetched;  // nullptr: nothing was prefetched
  Direction direction = Direction::kForward;
  bool existing = false;   // `hit` names a connection; else this packet opens one
  FlowKey forward, reply;  // keys of both directions, as their packets arrive

  ClusterId source_cluster;                 // validate_source: of this direction's source
  Identity source_identity;                 // validate_source: as policy sees it
  bool source_published = false;            // validate_source: the source is a published endpoint
  const FrontendEntry* frontend = nullptr;  // service: set when the forward destination is a VIP
  const BackendEntry* backend = nullptr;    // service: the backend chosen, or kept
  ClusterId destination_cluster;            // of target()
  Identity destination_identity;            // policy: of target()
  PolicyVerdict egress, ingress;            // policy: at the two ends of the forward direction
  DirectionBlock block;                     // the decision being built

  [[nodiscard]] const FlowKey& own() const noexcept { return direction == Direction::kForward ? forward : reply; }
  [[nodiscard]] const FlowKey& other() const noexcept { return direction == Direction::kForward ? reply : forward; }
  // Destination of the packet after translation: the source of the other direction.
  [[nodiscard]] IpAddress target() const noexcept { return other().source(); }
};

// Bits of ConnectionShared::user_flags: the source of this direction has been seen as a published endpoint.
[[nodiscard]] constexpr std::uint32_t published_flag(Direction direction) noexcept {
  return direction == Direction::kForward ? 1 : 2;
}

// For packets without a valid decision: makes one, or drops the packet. (admit.cc)
void admit(SlowContext& context, Burst& burst) noexcept;

// Checks that the source address and identity belong to the sender. (source_validation.cc)
[[nodiscard]] std::optional<DropReason> validate_source(SlowContext& context, Admission& admission) noexcept;
// New connection: finds the frontend. Existing one: checks that its backend may be kept. (service.cc)
enum class ServiceOutcome : std::uint8_t { kContinue, kReselect };
struct ServiceResult {
  std::optional<DropReason> drop;
  ServiceOutcome outcome = ServiceOutcome::kContinue;
};
[[nodiscard]] ServiceResult service(SlowContext& context, Admission& admission) noexcept;
// The prefetched state, if it belongs to this snapshot and connection; else nullptr.
[[nodiscard]] inline const PrefetchState* prefetched_of(const SlowContext& context,
                                                        const Admission& admission) noexcept {
  const PrefetchState* state = admission.prefetched;
  return state != nullptr && state->matches(context.snapshot, admission.forward) ? state : nullptr;
}
// The backends of a new connection in order of preference: the Maglev ring, starting at the packet's slot.
struct BackendWalk {
  const BackendSet* set = nullptr;
  std::uint32_t slot = 0;
  std::uint32_t steps = 0;
  [[nodiscard]] const BackendEntry* next() noexcept;
  const BackendEntry* last = nullptr;
};
[[nodiscard]] BackendWalk walk_backends(const SlowContext& context, const Admission& admission) noexcept;
// Prefetches the memory that admitting the burst will read, for all its packets together, and leaves the lookup results
// in context.prefetched. Decides nothing. (prefetch.cc)
void prefetch_admissions(SlowContext& context, Burst& burst) noexcept;
// Checks that the two clusters are linked and that policy allows the two identities. (policy.cc)
[[nodiscard]] std::optional<DropReason> policy(SlowContext& context, Admission& admission) noexcept;
// Chooses the side, device, tunnel and next hop. Needs destination_cluster. (route.cc)
[[nodiscard]] std::optional<DropReason> route(SlowContext& context, Admission& admission) noexcept;
// Sets the rewrite that turns own() into the reverse of other(), with its checksum deltas. (route.cc)
void finish_rewrite(Admission& admission) noexcept;

// The identity as sent in the VNI: host (1) becomes remote node (6); world-ipv4 and world-ipv6 (9, 10), unknown (0) and
// numbers beyond 24 bits become world (2). (source_validation.cc)
[[nodiscard]] Vni wire_vni(Identity identity) noexcept;

}  // namespace isthmus
