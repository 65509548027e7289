// What a client of the admin socket may ask: one JSON object on one line, {"command": "flows", "limit": 20}.
// Plain values, any thread. Whatever the bytes, parse_request returns a request or an error; it never throws.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

enum class AdminCommand : std::uint8_t { kStatus, kServices, kEndpoints, kFlows, kDrops, kPolicy };

inline constexpr unsigned kDefaultRows = 1000, kMaxRows = 20000;

struct AdminRequest {
  AdminCommand command = AdminCommand::kStatus;
  std::string service;               // namespace/name, or a part of it; empty: all
  std::optional<IpAddress> address;  // services: VIP or backend; endpoints: its own; flows: any of the four
  std::string cluster;               // services, endpoints: only this cluster's
  unsigned limit = kDefaultRows;     // rows of services, endpoints, flows and policies, 1..kMaxRows
  std::string endpoint;              // policy: what applies to it; [cluster/]namespace/pod, or an address
  std::string from, to, port;        // policy: a question; also labels, and "80/tcp"
};

[[nodiscard]] Result<AdminRequest> parse_request(std::string_view line);
// One line, without its end.
[[nodiscard]] std::string encode_request(const AdminRequest& request);

}  // namespace isthmus
