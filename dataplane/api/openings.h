// How connections that clients of our own cluster open to the backends of a watched service come out, as the workers
// see it: one outcome of a connection at most. Plain values, any thread.
#pragma once

#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct OpeningOutcome {
  enum class Kind : std::uint8_t {
    kAnswered,     // the backend's first packet is no refusal
    kRefused,      // a reset answers the client's SYN; or the backend's ICMP port unreachable
    kUnreachable,  // a router, or the backend's node, says that it does not reach the backend
    kSilent,       // the client has asked several times, or has given up, and nothing was heard
  };
  ServiceId service;
  BackendId backend;
  IpAddress client;
  Kind kind = Kind::kAnswered;
  bool endpoint = false;  // the client is a published endpoint

  [[nodiscard]] bool failed() const { return kind != Kind::kAnswered; }
};

// A silence is heard of so long after the first SYN at most: a connection expires after 30 s, those of clients that ask
// again later. While we, or a cluster, are cut off and for so long afterwards, it says nothing of backends.
inline constexpr Seconds kSilenceSpan{60};
// For so long after a failure workers tell of a service's answers too; without failures they tell nothing.
inline constexpr Seconds kOpeningSpan{120};

}  // namespace isthmus
