// Admission: what the first packet of a direction pays for, and every packet whose decision has ended.
//   vet → service → policy → route, then the connection is inserted or its decision replaced.
// Each step is a function of the snapshot and the endpoint table that fills in an Admission; nothing is published
// before all have agreed. Epoch words are sampled before what they guard is read (see admit.cc for the order). Thread:
// the worker, inside its read section.
#pragma once

#include <optional>

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus {

using Refusal = std::optional<DropReason>;

// The places of a block's epoch words. A connection between two ends of ours has two policy subjects and no peer: the
// destination's subject takes the peer's place.
enum EpochPlace : std::size_t { kSourcePlace, kDestinationPlace, kServicePlace, kSubjectPlace, kPeerPlace };

struct Admission {
  explicit Admission(Packet& p, const Foreseen* known = nullptr) noexcept : packet(p), foreseen(known) {}

  Packet& packet;
  const Foreseen* foreseen;  // nullptr: nothing was
  Direction direction = Direction::kForward;
  bool existing = false;   // a connection is there; else this packet wants a new one
  FlowKey forward, reply;  // both directions' keys, as packets arrive

  ClusterId source_cluster;                 // vet: of this direction's source
  Identity source_identity;                 // vet: as tables know it
  bool source_known = false;                // vet: it is an endpoint that is published
  const FrontendEntry* frontend = nullptr;  // service: where the forward destination is a VIP
  const BackendEntry* backend = nullptr;    // service: the chosen or kept backend
  ClusterId destination_cluster;            // service or route: where the packet goes after translation
  Identity destination_identity;            // policy: of target(), as tables know it
  PolicyVerdict egress, ingress;            // policy: of the forward direction's two ends
  DirectionBlock block;                     // the decision as it grows

  [[nodiscard]] const FlowKey& own() const noexcept { return direction == Direction::kForward ? forward : reply; }
  [[nodiscard]] const FlowKey& other() const noexcept { return direction == Direction::kForward ? reply : forward; }
  // Where the packet goes once translated: the other direction's source.
  [[nodiscard]] const IpAddress& target() const noexcept { return other().source; }
};

// Bits of ConnectionShared::user_flags: the source of this direction has been a published endpoint.
[[nodiscard]] constexpr std::uint32_t known_flag(Direction direction) noexcept {
  return direction == Direction::kForward ? 1 : 2;
}

// Is the sender who it says it is? (vet.cc)
[[nodiscard]] Refusal vet(PathContext& context, Admission& admission) noexcept;
// New connections: the frontend and the first choice of backend. Existing ones: does theirs still stand? (service.cc)
enum class ServiceOutcome : std::uint8_t { kGoOn, kChooseAgain };
struct ServiceResult {
  Refusal refusal;
  ServiceOutcome outcome = ServiceOutcome::kGoOn;
};
[[nodiscard]] ServiceResult service(PathContext& context, Admission& admission) noexcept;
// What was foreseen, where it is of this snapshot and connection; else nullptr.
[[nodiscard]] inline const Foreseen* foreseen_of(const PathContext& context, const Admission& admission) noexcept {
  const Foreseen* known = admission.foreseen;
  return known != nullptr && known->holds(context.snapshot, admission.forward) ? known : nullptr;
}
// The backends of a new connection in order of preference: the ring from the packet's slot on.
struct BackendWalk {
  const BackendSet* set = nullptr;
  std::uint32_t slot = 0;
  std::uint32_t steps = 0;
  [[nodiscard]] const BackendEntry* next() noexcept;
  const BackendEntry* last = nullptr;
};
[[nodiscard]] BackendWalk walk_backends(const PathContext& context, const Admission& admission) noexcept;
// Asks for the memory that the admissions of a burst will read, all packets together, and leaves in the context what it
// has found on the way (prefetch.cc). Decides nothing.
void prefetch_admissions(PathContext& context, Burst& burst) noexcept;
// May the two clusters talk, and the two identities? (policy.cc)
[[nodiscard]] Refusal policy(PathContext& context, Admission& admission) noexcept;
// By which side, device, tunnel and next hop it leaves. Needs destination_cluster. (route.cc)
[[nodiscard]] Refusal route(PathContext& context, Admission& admission) noexcept;
// The rewrite that turns own() into the reverse of other(), and its checksum differences. (route.cc)
void finish_rewrite(Admission& admission) noexcept;

// The identity as the wire carries it: host 1 becomes 6, world 9 and 10 become 2, what does not fit in 24 bits too.
[[nodiscard]] Vni wire_vni(Identity identity) noexcept;

}  // namespace isthmus
