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

// What XDP can send by, by DeviceId.
using KernelEgresses = std::array<bool, ISTHMUS_MAX_DEVICES>;

// Whether a direction of a connection may be handed down: TCP that is opened and not ending, or UDP, with an ordinary
// packet each way; of UDP that nobody has answered, what its initiator sends.
[[nodiscard]] bool may_go_down(const Connection& connection, Direction direction) noexcept;
// Whether it can: by a decision without a time limit, and a device that XDP can send by.
[[nodiscard]] bool can_go_down(const DirectionBlock& block, const KernelEgresses& egresses) noexcept;

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
