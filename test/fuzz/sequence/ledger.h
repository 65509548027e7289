// The books of a sequence: what goes in, what comes out, and what must be true of it. Checked in every round:
//   - each frame received is sent out, dropped under a reason, waiting for a neighbour or for another
//     fragment, put together with others, or consumed as a probe;
//   - each frame sent out is well-formed: lengths, checksums and tunnel headers, also of the packet that an ICMP error
//     quotes; a tunnel ends at a peer, and the local device gets nothing but packets to its own cluster;
//   - the connection table's counters agree with each other, and at the end with its contents.
// Checksums are not expected of what a damaged packet becomes. Failure: traps. Thread: one.
#pragma once

#include <cstdint>
#include <vector>

#include "test/fuzz/sequence/fleet.h"

namespace isthmus::test {

class Ledger {
 public:
  // Frames that a round takes from one device.
  static constexpr unsigned kBurst = 64;
  explicit Ledger(Fleet& fleet);

  void inject(bool underlay, const FrameBytes& frame, bool damaged);
  void send_probe(PeerId peer, std::uint32_t sequence);
  // A burst for each device has been injected.
  [[nodiscard]] bool full() const { return injected_ >= kBurst; }

  struct Round {
    std::vector<Output> out;
    bool single = false;        // one frame went in, and what it has become has come out
    std::uint64_t removed = 0;  // connections until now
  };
  Round run();
  // Lets what waits go, then closes the books.
  void close();

 private:
  void settle(const Round& round, const EngineCounters& after, std::uint64_t answers);
  void check_frame(const Output& out) const;
  void check_connections(const EngineCounters& now) const;
  void check_table(const EngineCounters& now) const;

  Fleet& fleet_;
  EngineCounters before_;
  std::uint64_t injected_ = 0;
  std::int64_t waiting_ = 0;
  std::int64_t probes_ = 0;  // that may have been sent, and have not come out
  bool damaged_ = false;     // a damaged packet is on its way
};

}  // namespace isthmus::test
