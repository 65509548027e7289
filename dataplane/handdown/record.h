// From a connection's decisions to what XDP forwards by (xdp/abi.h). Pure functions, for readers inside a read section.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/direction_block.h"
#include "dataplane/packet/flow_key.h"
#include "dataplane/tables/snapshot.h"
#include "xdp/abi.h"

namespace isthmus {

// Why a connection is not handed down.
enum class StaysUp : std::uint8_t {
  kProtocol,   // neither TCP nor UDP
  kNotOpened,  // its initiator has not acknowledged a reply
  kEnding,     // an end has sent FIN or RST
  kUnsettled,  // a direction has had no ordinary packet yet
  kUndecided,  // a direction has no decision
  kTimed,      // a decision has a time limit, or depends on when packets come
  kEgress,     // no program can send by a device
  kPeer,       // a tunnel end that is not known any more, or has no header
};

// What XDP can send by, by DeviceId.
using KernelEgresses = std::array<bool, 64>;

// Of a connection and its two decisions, by Direction. nullopt: it can be handed down.
[[nodiscard]] std::optional<StaysUp> why_not(const Connection& connection,
                                             const std::array<const DirectionBlock*, 2>& blocks,
                                             const KernelEgresses& egresses) noexcept;

// The numbers of a direction's records.
struct RecordNumbers {
  std::uint32_t lease = 0, next_hop = 0;
  std::uint16_t tunnel = 0, from = 0;  // 0: none
};

[[nodiscard]] isthmus_flow_key key_of(const FlowKey& key) noexcept;
[[nodiscard]] isthmus_flow flow_of(const DirectionBlock& block, Family family, const RecordNumbers& numbers) noexcept;
// nullopt: nothing can come from it or go to it.
[[nodiscard]] std::optional<isthmus_tunnel> tunnel_of(const PeerRecord& peer, const TunnelEnds& own) noexcept;

}  // namespace isthmus
