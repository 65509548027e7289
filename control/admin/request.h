// The requests of the admin socket: one JSON object on one line, {"command": "connections", "limit": 20}.
// Plain values, any thread. parse_request returns a request or an error for any bytes; it never throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "control/observe/flow_query.h"
#include "dataplane/api/types.h"

namespace isthmus {

enum class AdminCommand : std::uint8_t {
  kStatus,
  kServices,
  kEndpoints,
  kConnections,
  kFlows,
  kDrops,
  kPolicy,
  kDrain
};

inline constexpr std::size_t kMaxAdminReply = std::size_t{16} << 20;  // bytes of one line of an answer
inline constexpr unsigned kDefaultRows = 1000, kMaxRows = 20000;

struct AdminRequest {
  AdminCommand command = AdminCommand::kStatus;
  std::string service;               // namespace/name, or a part of it; empty: all
  std::optional<IpAddress> address;  // services: VIP or backend; endpoints: its own; connections: any of the four
  std::string cluster;               // services, endpoints: only this cluster's
  std::string ns;                    // endpoints: only pods of this namespace
  std::optional<Identity> identity;  // endpoints: only those with this one
  std::string label;                 // endpoints: only those with this one: "app=web", "k8s:app=web", or a key alone
  unsigned limit = kDefaultRows;     // rows of services, endpoints and connections, 1..kMaxRows
  FlowQuery flows;
  bool undo = false;           // drain: no longer
  std::string endpoint;        // policy: whose rules; [cluster/]namespace/pod, or an address
  std::string from, to, port;  // policy: a trace; ends may be labels, too; port as "80/tcp"
};

[[nodiscard]] Result<AdminRequest> parse_request(std::string_view line);
// One line, without the line end.
[[nodiscard]] std::string encode_request(const AdminRequest& request);

}  // namespace isthmus
