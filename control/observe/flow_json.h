// A flow as one JSON object, in the form of Hubble's exporter: {"flow": {...}, "node_name", "time"} or
// {"lost_events": ...}, with the names of Hubble's protocol buffers, zero values left out and 64-bit numbers as
// strings. Our own drop reason, for which Hubble has no field, is in its "extensions" as a google.protobuf.Struct,
// which Hubble's command line accepts. Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>

#include "control/observe/flow.h"

namespace isthmus {

// One line, without the line end. `node` is "cluster/gateway".
[[nodiscard]] std::string encode_flow(const FlowEntry& entry, std::string_view node);

// Hubble's kinds of events.
enum class FlowKind : std::uint8_t { kDrop, kTrace, kPolicyVerdict };
[[nodiscard]] FlowKind kind_of(const Flow& flow);
[[nodiscard]] const char* verdict_name(FlowVerdict verdict);
// "EchoRequest"; "type 13" for those without a name.
[[nodiscard]] std::string icmp_type_name(IpProtocol protocol, std::uint8_t type);

// RFC 3339 with nanoseconds, UTC.
[[nodiscard]] std::string time_text(std::int64_t unix_ns);

}  // namespace isthmus
