// Both executors of a fleet's decisions, packet by packet. First the kernel, whose run changes nothing but what its
// lease counts; then the engine, which gets what the kernel's classification takes, forwarded there or not: so both see
// each packet in the same state, and the engine sees more packets of a flow than in service, which changes no decision.
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "test/unit/xdp/differential/varied_packet.h"

namespace isthmus::test {

struct ClassTally {
  std::uint64_t settled = 0, handed_down = 0;    // directions, at each hand-down
  std::uint64_t plain = 0, plain_forwarded = 0;  // of those handed down, while their decision holds
  std::uint64_t odd = 0, odd_forwarded = 0;
};

struct Tallies {
  std::uint64_t fleets = 0, packets = 0, forwarded = 0, sent_by_engine = 0, differences = 0, changes = 0;
  std::map<FlowClass, ClassTally> classes;  // of fleets that do not change
  ClassTally changing;                      // of all those that do
  struct Oddity {
    std::uint64_t packets = 0, forwarded = 0, sent_by_engine = 0;
  };
  std::map<std::string, Oddity> oddities;  // of packets with one oddity

  [[nodiscard]] std::string text() const;
};

class ExecutorComparison {
 public:
  explicit ExecutorComparison(Tallies& tallies) : tallies_(tallies) {}

  // Drives `packets` of a fleet that is made from `seed`, and that changes in the course of it or not. Stops at the
  // tenth difference, which fails the test.
  void run(std::uint64_t seed, std::uint64_t packets, bool changes);

 private:
  void open_flows(RandomFleet& fleet, Dice& dice);
  void hand_down(RandomFleet& fleet);
  void send_one(RandomFleet& fleet, Dice& dice);
  void compare(RandomFleet& fleet, const FlowDirection& direction, const VariedPacket& packet);
  void compare_forwarded(RandomFleet& fleet, const FlowDirection& direction, const VariedPacket& packet,
                         const KernelOutcome& kernel, const std::vector<SentFrame>& sent);
  void check_leases(RandomFleet& fleet);
  void count(const FlowDirection& direction, const VariedPacket& packet, bool held, bool forwarded, bool sent);
  [[nodiscard]] ClassTally& tally_of(const FlowDirection& direction) {
    return changes_ ? tallies_.changing : tallies_.classes[direction.is];
  }
  void difference(const std::string& what, const FlowDirection& direction, const VariedPacket& packet,
                  const std::vector<std::pair<std::string, FrameBytes>>& frames);

  Tallies& tallies_;
  std::vector<OpenFlow> flows_;
  bool changes_ = false;
  std::uint64_t seed_ = 0, number_ = 0;
  std::uint16_t next_port_ = 0;
  std::uint64_t lease_packets_ = 0, lease_bytes_ = 0;  // that the leases must have counted since the last look
};

// Whether a decision that was handed down holds.
[[nodiscard]] bool holds(RandomFleet& fleet, const isthmus_flow& flow);
// Without what counts packets: the identification of an outer IPv4 header, whose checksum must be right.
[[nodiscard]] bool same_frame(const FrameBytes& a, const FrameBytes& b, const TunnelEnds& ours);

}  // namespace isthmus::test
