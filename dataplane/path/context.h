// State of one worker that the stages use.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/originate/output.h"
#include "dataplane/slowpath/context.h"

namespace isthmus {

// The peer that the last tunnel packet came from. Belongs to one snapshot: a stage starts over for each burst.
struct LastPeer {
  std::uint32_t underlay = 0;  // as on the wire
  PeerId id;                   // kNoPeer: none yet
};

// Of the burst in hand, where it has arrived on a device that shares with the host (host.h).
struct HostShare {
  const HostRules* rules = nullptr;              // nullptr: nothing is asked about
  const Frame* first = nullptr;                  // of the burst
  std::uint64_t taken = 0;                       // bitmap by index in the burst: the rules take it
  std::array<std::uint32_t, kMaxBurst> lengths;  // of its frames, as they came
  std::array<Frame, kMaxBurst> frames;           // that are the kernel's
  unsigned count = 0;
};

struct PathContext : SlowContext {
  using SlowContext::SlowContext;

  Output output{*this};
  HostShare host;
  std::uint32_t replayed = kNoPlace;  // list of fragments that go on behind the burst in hand (fragments.h)
  std::uint32_t fragment_bucket = 0;  // the last one that was looked at for what has waited too long
  std::uint64_t fragments_expired_ns = 0;
};

// Hashes the packet's key and prefetches the bucket of the connection table that lookup will read.
inline void prefetch_connection(const FlowTable& flows, Packet& packet) noexcept {
  packet.hash = flows.hash(packet.key);
  packet.bucket = flows.prefetch_bucket(packet.hash);
}

}  // namespace isthmus
