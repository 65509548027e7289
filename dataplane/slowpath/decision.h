// decide: what becomes of the packets of one direction of a connection, as a pure function of the published tables and
// of what the packet shows. It changes nothing but the decision it returns and the caches it is given; commit.h carries
// the decision into the connection table.
//   validate source → service → policy → route
// An epoch word is sampled before the data it guards is read. The snapshot is a parameter: whoever commits the decision
// first checks that the snapshot is still the published one, because a word may already carry the new value although
// the data was old.
// Threads: any, inside a read section; caches belong to one worker. Callers: admit.cc, reports, tests, the fuzzer. What
// it reads of an address besides what kind_of() in open.cc does must be added there.
#pragma once

#include <optional>

#include "dataplane/api/engine.h"
#include "dataplane/conntrack/affinity_table.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/epoch_table.h"
#include "dataplane/packet/dsr.h"
#include "dataplane/packet/origin.h"
#include "dataplane/slowpath/unknown_sources.h"
#include "dataplane/slowpath/verdict_cache.h"
#include "dataplane/stats/drop_reason.h"
#include "dataplane/tables/adjacency_table.h"
#include "dataplane/tables/endpoint_table.h"
#include "dataplane/tables/snapshot.h"

namespace isthmus {

// What a decision reads besides the snapshot.
struct DecisionTables {
  const EngineOptions& options;
  const EndpointTable& endpoints;
  const EpochTable& epochs;
  const AdjacencyTable& adjacencies;
  const AffinityTable& affinities;
};

// Without them every policy is evaluated, and each unpublished source counts as seen for the first time.
struct DecisionCaches {
  UnknownSources* unknown_sources = nullptr;
  VerdictCache* verdicts = nullptr;
};

// Where to look after the first choice for a new connection has turned out to be taken.
struct Alternative {
  unsigned first_backend = 0;  // backends of the ring to leave out
  bool other_port = false;     // take another source port
};

// What prefetching has looked up already, for the packet and its connection as it is in the facts.
struct Hints {
  std::uint64_t source_hash = 0, vip_hash = 0,
                target_hash = 0;  // address_hash() of source, forward destination, target
  // Of the same snapshot only.
  const Snapshot* snapshot = nullptr;
  const Frontend* frontend = nullptr;     // nullptr: its destination is no frontend
  const BackendEntry* backend = nullptr;  // of a new connection: the ring's choice
  std::uint32_t slot = 0;                 // its place in the ring
  std::uint64_t reply_hash = 0;           // FlowTable::hash() of the reply key with that backend, or with none
  FlowKey::Ipv4Words reply{};             // that key, of a plain opening (open.h)
};

struct PacketFacts {
  PacketFacts(const FlowKey& packet_key, Origin from, Seconds time) noexcept
      : key(packet_key), origin(from), now(time) {}

  const FlowKey& key;  // of an ICMP error: of the connection it reports on, in its direction
  Origin origin;
  Seconds now;
  std::uint8_t tcp_flags = 0;
  bool icmp_error = false;
  bool dsr = false;       // it has a DSR option
  bool intrudes = false;  // into its connection, which is not its sender's (DsrClaim)
  ServiceAddress asked;   // with `dsr`: what its client has asked
  IpAddress reporter;     // of an ICMP error: the source of its own header
  // The packet's connection; nullptr: the packet would open one. `current`: the decision in force for its direction.
  const Connection* connection = nullptr;
  Direction direction = Direction::kForward;
  const DirectionBlock* current = nullptr;
  const DirectionBlock* forward_block = nullptr;  // of one with direct return: that of the forward direction
  Alternative alternative;
  const Hints* hints = nullptr;
};

// One end of a connection, after translation, as a single look-up yields it.
struct End {
  ClusterId cluster;
  bool published = false;  // a published endpoint
  Identity identity;       // of the endpoint; else of its longest prefix, or world
  Identity receives_as;    // where it is the destination
  Identity previous;       // accepted until `grace_until`
  Seconds grace_until;
  PeerId node;
};

// How a direction leaves.
struct Egress {
  DeviceId device;
  AdjacencyId adjacency;   // kNoAdjacency with `on_link`: the destination itself, not looked up yet
  PeerId peer;             // kNoPeer: no tunnel
  std::uint32_t hash = 0;  // of the tuple that the tunnel carries, equal for both directions: entropy, owning gateway
  std::uint16_t mtu = 0;
  bool on_link = false;
  bool within = false;  // the tunnel ends in our own cluster: a hop like any other
};

struct Decision {
  // The outcome: refused for `reason`; or `block`, for a new connection (`opens`) or for the packet's own.
  bool refused = false;
  bool standing = true;  // a refusal that holds while the words in `depends` stand
  bool echo = false;     // refused because it is the ping of a VIP, which the gateway itself answers
  bool opens = false;
  bool passes = false;       // the packet of no connection, which opens none
  bool reply_known = false;  // `reply_block` holds the decision for the other direction of a new connection
  bool translated = false;   // a new connection that needs a source port of ours
  bool dsr = false;  // replies go out in the name of `asked`, and not back to where the forward direction is from
  // The backend's node answers the client itself: it gets the client's source, and a DSR option. `reply` is then the
  // key that the backend sends, and not the connection's (ConnectionShared::direct_return).
  bool direct_return = false;
  DropReason reason{};

  const FlowKey* forward = nullptr;  // keys of both directions, as their packets arrive
  const FlowKey* reply = nullptr;
  Direction direction = Direction::kForward;
  FlowKey new_reply;             // *reply of a new connection, unless it starts with an answer; with `direct_return`
  FlowKey new_forward;           // of one that starts with an answer: *forward
  std::uint64_t reply_hash = 0;  // FlowTable::hash(new_reply); 0: not known

  End source, destination;                // of this direction
  Identity source_identity;               // as policy sees it
  Identity destination_identity;          // the same
  const Frontend* frontend = nullptr;     // set when the forward destination is a VIP
  const BackendEntry* backend = nullptr;  // of a new connection to a VIP
  ServiceAddress asked;                   // with `dsr`, but of an existing connection's forward direction
  unsigned next_backend = 0;              // backends of the ring that come before the next choice
  PolicyVerdict egress_policy, ingress_policy;
  Egress egress, reply_egress;
  Dependencies depends;
  Seconds valid_until;  // 0: no limit
  DirectionBlock block, reply_block;

  // Opens a connection whose first packet that we see is a reply.
  [[nodiscard]] bool answers() const noexcept { return opens && direction == Direction::kReply; }
  [[nodiscard]] const FlowKey& own() const noexcept { return direction == Direction::kForward ? *forward : *reply; }
  [[nodiscard]] const FlowKey& other() const noexcept { return direction == Direction::kForward ? *reply : *forward; }
  // Destination of the packet after translation: the source of the other direction.
  [[nodiscard]] IpAddress target() const noexcept { return other().source(); }
};

// Bits of ConnectionShared::user_flags: the source of this direction has been seen as a published endpoint.
[[nodiscard]] constexpr std::uint32_t published_flag(Direction direction) noexcept {
  return direction == Direction::kForward ? 1 : 2;
}

// And the forward direction has come from the connection's peer since that has ceased to be live.
inline constexpr std::uint32_t kReturnedFlag = 4;
// A load balancer has opened it by a DSR option. Which service that named stands in the block of the replies alone, in
// what they are rewritten to: such a block is replaced, and never forgotten.
inline constexpr std::uint32_t kDsrFlag = 8;

// Fills in `decision`, whose pointers refer to `facts`, to the connection and to the snapshot.
void decide(const Snapshot& snapshot, const DecisionTables& tables, const PacketFacts& facts,
            const DecisionCaches& caches, Decision& decision) noexcept;

// The identity as sent in the VNI: host (1) becomes remote node (6); world-ipv4 and world-ipv6 (9, 10), unknown (0) and
// numbers beyond 24 bits become world (2).
[[nodiscard]] Vni wire_vni(Identity identity) noexcept;

}  // namespace isthmus
