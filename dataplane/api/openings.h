// How connections to the backends of a watched service open, as the workers see it: one outcome of a connection at
// most. Plain values, any thread.
#pragma once

#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct OpeningOutcome {
  enum class Kind : std::uint8_t {
    kAnswered,  // the backend's first packet is no refusal
    kRefused,   // a reset, or an SCTP abort, answers the client's first packet; or the backend's ICMP port unreachable
    kUnreachable,  // a router, or the backend's node, says that it does not reach the backend
    kSilent,       // the client has asked several times, or has given up, and nothing was heard
  };
  ServiceId service;
  BackendId backend;
  IpAddress client;
  Kind kind = Kind::kAnswered;
  bool others = false;  // another client of the service was answered within kOpeningSpan

  [[nodiscard]] bool failed() const { return kind != Kind::kAnswered; }
};

// For so long after a failure workers tell of a service's answers too; without failures they tell nothing.
inline constexpr Seconds kOpeningSpan{120};

}  // namespace isthmus
