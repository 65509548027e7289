// The steps of decide(), in their order, one file each. Each reads the input, fills in its part of the decision and
// returns a drop reason to refuse. Pure, as decide() is. For decide.cc and tests.
#pragma once

#include <optional>

#include "dataplane/slowpath/decision.h"

namespace isthmus {

struct DecisionInput {
  const Snapshot& snapshot;
  const DecisionTables& tables;
  const PacketFacts& facts;
  const DecisionCaches& caches;
};
using Refusal = std::optional<DropReason>;

// Starts over: keys, direction, no dependencies. (decide.cc)
void begin(const DecisionInput& in, Decision& decision) noexcept;
// Depends on the address's word, then looks the end up. `hash`: address_hash() of the address. (decide.cc)
void look_up(const DecisionInput& in, Decision& decision, const IpAddress& address, std::uint64_t hash,
             End& end) noexcept;
// What the tables know of an address; depends on nothing. (decide.cc)
void find_end(const Snapshot& snapshot, const EndpointTable& endpoints, Realm realm, const IpAddress& address,
              std::uint64_t hash, End& end) noexcept;
// The address as tables, policy and other clusters know it: the alias of one of our own. (decide.cc)
[[nodiscard]] IpAddress fleet_form(const Snapshot& snapshot, const IpAddress& address) noexcept;
// Whether there is a service at the address. (decide.cc)
[[nodiscard]] bool is_vip(const DecisionInput& in, const IpAddress& address) noexcept;
// Our own addresses are replaced by their aliases where the packet leaves our cluster, and aliases by our own where it
// stays: in `new_reply`, the reverse of the packet's key. (decide.cc)
void set_reply_alias(const DecisionInput& in, Decision& decision) noexcept;
// Policy and route, once both keys and the destination are known. Between two other clusters we are not on the way: the
// next gateway would not take our word for the source. (decide.cc)
[[nodiscard]] Refusal decide_target(const DecisionInput& in, Decision& decision) noexcept;
// To a VIP whose frontend has been found: the ring's backend first, the next ones if it cannot be reached. (decide.cc)
[[nodiscard]] Refusal decide_service(const DecisionInput& in, Decision& decision) noexcept;
// Of an ICMP error about no connection of ours: whether it can be judged without. (stray_error.cc)
[[nodiscard]] Refusal check_quote(const DecisionInput& in) noexcept;
// The error, once its source has been validated. (stray_error.cc)
[[nodiscard]] Refusal decide_stray_error(const DecisionInput& in, Decision& decision) noexcept;
// Whether packets for the cluster may go to the peer. (route.cc)
[[nodiscard]] bool is_usable(const Snapshot& snapshot, ClusterId cluster, PeerId peer) noexcept;
// The longest packet that the device takes, and the longest inner one in the peer's tunnel. (route.cc)
[[nodiscard]] std::uint16_t mtu_of(const AdjacencyTable& adjacencies, DeviceId device) noexcept;
[[nodiscard]] std::uint16_t mtu_behind(const AdjacencyTable& adjacencies, DeviceId device,
                                       const PeerRecord& peer) noexcept;
// Whether the underlay routes an address of another cluster, without a tunnel. (route.cc)
[[nodiscard]] bool is_native(const DecisionInput& in, const IpAddress& address) noexcept;
// Depends on a peer. (decide.cc)
void depend_on_peer(const DecisionInput& in, Decision& decision, PeerId peer) noexcept;

// What is not to be carried, as the packet's own header tells. (source_validation.cc)
[[nodiscard]] Refusal check_header(const EngineOptions& options, const FlowKey& key, Direction direction) noexcept;
// The source address and identity belong to the sender. (source_validation.cc)
[[nodiscard]] Refusal validate_source(const DecisionInput& in, Decision& decision) noexcept;
// Whether the sender of a connection's forward direction, by or after a DSR option, may forward for the client, which
// need not be of its cluster. (dsr.cc)
[[nodiscard]] Refusal check_dsr_sender(const DecisionInput& in, const Decision& decision,
                                       const PeerRecord& sender) noexcept;
// Of either direction: whether who has opened it may still have this backend answer in that service's name. (dsr.cc)
[[nodiscard]] Refusal check_dsr(const DecisionInput& in, Decision& decision) noexcept;
// What validate_source() does, of an answer that the node of a backend gives in the VIP's name. (source_validation.cc)
[[nodiscard]] Refusal validate_direct_answer(const DecisionInput& in, Decision& decision) noexcept;
// Finds the frontend; an existing connection whose backend does not stand opens a new one. (service.cc)
[[nodiscard]] Refusal find_service(const DecisionInput& in, Decision& decision) noexcept;
// The two clusters are linked, and policy allows the two identities. (policy.cc)
[[nodiscard]] Refusal check_policy(const DecisionInput& in, Decision& decision) noexcept;
// Device, tunnel and next hop of this direction. (route.cc)
[[nodiscard]] Refusal route(const DecisionInput& in, Decision& decision) noexcept;
// Whether the node of the backend, whose end is decision.destination, may answer the client itself. (route.cc)
[[nodiscard]] bool may_return_directly(const DecisionInput& in, const Decision& decision,
                                       const IpAddress& backend) noexcept;
// route() for the other direction of a new connection. False: it cannot be known yet. (route.cc)
[[nodiscard]] bool route_reply(const DecisionInput& in, Decision& decision) noexcept;
// The same for a connection opened by a DSR option, whose replies do not follow the forward direction. (route.cc)
[[nodiscard]] Refusal route_dsr_reply(const DecisionInput& in, Decision& decision) noexcept;
// The blocks of both directions, as far as known; again after the reply key has changed. (build_block.cc)
void build_blocks(const DecisionInput& in, Decision& decision) noexcept;
void rebuild_for_port(Decision& decision) noexcept;
// What turns packets of `own` into the reverse of `other`, in the blocks of both directions; the second may be nullptr.
// (build_block.cc)
void set_rewrites(const FlowKey& own, const FlowKey& other, DirectionBlock& block, DirectionBlock* reverse) noexcept;
// The same for a new connection over IPv4 whose source is not translated, in blocks that decide() has built for a
// connection between other ends. (build_block.cc)
void set_opening_rewrites(const FlowKey& own, const FlowKey& reply, DirectionBlock& block,
                          DirectionBlock& reverse) noexcept;
// The outer source port for a symmetric_hash(). (build_block.cc)
[[nodiscard]] Be16 outer_port_of(std::uint32_t hash) noexcept;
// Of all that a decision takes from the two ends. (build_block.cc)
[[nodiscard]] std::uint32_t digest_of(const End& source, const End& destination) noexcept;

// The backends of a new connection in order of preference: what the client keeps, then the Maglev ring, starting at the
// packet's slot.
struct BackendWalk {
  const BackendSet* set = nullptr;
  std::uint32_t slot = 0;
  std::uint32_t steps = 0;
  bool single = false;  // there is but one on the ring
  const BackendEntry* kept = nullptr;
  const BackendEntry* last = nullptr;
  [[nodiscard]] const BackendEntry* next() noexcept;
};
// Where the walk starts. The ring is not empty.
[[nodiscard]] std::uint32_t ring_slot(const Frontend& frontend, Side client, const FlowKey& key) noexcept;
[[nodiscard]] BackendWalk walk_backends(const DecisionInput& in, const Decision& decision) noexcept;

}  // namespace isthmus
