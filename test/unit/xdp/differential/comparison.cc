#include "test/unit/xdp/differential/comparison.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>

#include "test/support/boot_clock.h"

namespace isthmus::test {
namespace {

constexpr std::size_t kFlows = 96, kAttempts = 1200;
constexpr std::uint64_t kPacketsPerHandDown = 2000, kPacketsPerChange = 700, kMostDifferences = 10;
constexpr std::uint64_t kSecond = 1'000'000'000, kTick = 1'000'000;

std::string hex(const FrameBytes& bytes) {
  constexpr std::size_t kMost = 200;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < std::min(bytes.size(), kMost); ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
    text += i % 16 == 15 ? "\n    " : i % 2 == 1 ? " " : "";
  }
  return text + (bytes.size() > kMost ? "... " : " ") + std::to_string(bytes.size()) + " bytes";
}

// An outer IPv4 header of ours.
bool has_counted_id(const FrameBytes& frame, const TunnelEnds& ours) {
  constexpr std::size_t kSource = 26, kHeaders = 34;
  return !ours.ipv4.is_unspecified() && frame.size() > kHeaders && half_at(frame, 12) == 0x0800 &&
         std::equal(frame.begin() + kSource, frame.begin() + kSource + 4, ours.ipv4.bytes().begin() + 12);
}

// Bytes of the inner IP packet of a frame that we sent: of one in a tunnel, the source is ours.
std::size_t inner_bytes(const FrameBytes& sent, const TunnelEnds& ours) {
  constexpr std::size_t kEthernet = 14, kIpv6Source = 22, kInIpv4 = 64, kInIpv6 = 84;
  const bool in_ipv6 =
      !ours.ipv6.is_unspecified() && half_at(sent, 12) == 0x86dd && sent.size() > kInIpv6 &&
      std::equal(sent.begin() + kIpv6Source, sent.begin() + kIpv6Source + 16, ours.ipv6.bytes().begin());
  if (in_ipv6 || has_counted_id(sent, ours)) {
    return sent.size() - (in_ipv6 ? kInIpv6 : kInIpv4);
  }
  constexpr std::size_t kIpv6 = 40;  // the frame may be padded
  return half_at(sent, 12) == 0x0800 ? half_at(sent, kEthernet + 2) : half_at(sent, kEthernet + 4) + kIpv6;
}

// Whether the engine may take it for the end of a connection, or for the start of another one.
bool opens_or_closes(const VariedPacket& packet) {
  constexpr std::size_t kFlags = 13;
  constexpr std::uint8_t kOpensOrCloses = kSyn | kFin | kRst;
  const std::size_t at = packet.frame.l4 + kFlags;
  return at < packet.frame.bytes.size() && (packet.frame.bytes[at] & kOpensOrCloses) != 0;
}

std::string rate(std::uint64_t part, std::uint64_t whole) { return std::to_string(part) + "/" + std::to_string(whole); }

}  // namespace

bool same_frame(const FrameBytes& a, const FrameBytes& b, const TunnelEnds& ours) {
  constexpr std::size_t kIp = 14, kIpBytes = 20, kId = kIp + 4, kChecksum = kIp + 10;
  if (a.size() != b.size() || !has_counted_id(a, ours)) {
    return a == b;
  }
  FrameBytes left = a, right = b;
  for (FrameBytes* frame : {&left, &right}) {
    if (ones_sum(std::span(*frame).subspan(kIp, kIpBytes)) != 0xffff) {
      return false;
    }
    put_half(*frame, kId, 0);
    put_half(*frame, kChecksum, 0);
  }
  return left == right;
}

bool holds(RandomFleet& fleet, const isthmus_flow& flow) {
  const isthmus_lease& lease = fleet.kernel_flows().leases()[flow.lease];
  std::uint32_t sum = 0;
  for (const std::uint16_t index : flow.epoch_index) {
    sum += fleet.kernel_flows().epochs()[index];
  }
  return lease.valid == 1 && lease.sum == sum;
}

std::string Tallies::text() const {
  std::string text = std::to_string(fleets) + " fleets, " + rate(forwarded, packets) +
                     " packets forwarded by the kernel, " + std::to_string(sent_by_engine) + " sent by the engine, " +
                     std::to_string(changes) + " changes, " + std::to_string(differences) + " differences\n";
  const auto add = [&](const std::string& name, const ClassTally& tally) {
    text += "  " + name + ": down " + rate(tally.handed_down, tally.settled) + ", plain " +
            rate(tally.plain_forwarded, tally.plain) + ", odd " + rate(tally.odd_forwarded, tally.odd) + "\n";
  };
  for (const auto& [is, tally] : classes) {
    add(is.text(), tally);
  }
  add("fleets that change", changing);
  for (const auto& [name, tally] : oddities) {
    text += "  " + name + ": forwarded " + rate(tally.forwarded, tally.packets) + ", by the engine " +
            std::to_string(tally.sent_by_engine) + "\n";
  }
  return text;
}

void ExecutorComparison::run(std::uint64_t seed, std::uint64_t packets, bool changes) {
  ++tallies_.fleets;
  seed_ = seed;
  changes_ = changes;
  number_ = 0;
  flows_.clear();
  next_port_ = 10'000;
  RandomFleet fleet(seed);
  Dice dice(seed ^ 0x5eed);
  open_flows(fleet, dice);
  hand_down(fleet);
  const std::uint64_t differences = tallies_.differences;
  for (; number_ < packets && tallies_.differences - differences < kMostDifferences; ++number_) {
    if (number_ % kPacketsPerHandDown == kPacketsPerHandDown - 1) {
      open_flows(fleet, dice);
      hand_down(fleet);
    }
    if (changes && dice.one_in(kPacketsPerChange)) {
      ++tallies_.changes;
      fleet.change(dice);
      static_cast<void>(fleet.engine_turn());
    }
    fleet.pass(Nanoseconds{kTick});
    send_one(fleet, dice);
  }
  check_leases(fleet);
}

// In place of those that have ended, or that a change has put an end to.
void ExecutorComparison::open_flows(RandomFleet& fleet, Dice& dice) {
  std::erase_if(flows_, [&](OpenFlow& flow) {
    look_up(fleet, flow);
    return (flow.ended || !flow.directions[0].handed_down) && dice.one_in(2);
  });
  for (std::size_t i = 0; i < kAttempts && flows_.size() < kFlows; ++i) {
    if (auto flow = open_flow(fleet, dice, next_port_++)) {
      flows_.push_back(*std::move(flow));
    }
  }
}

// Each direction has packets in several seconds, by which it becomes hot.
void ExecutorComparison::hand_down(RandomFleet& fleet) {
  constexpr unsigned kSeconds = 3;
  check_leases(fleet);
  for (unsigned i = 0; i < kSeconds; ++i) {
    fleet.pass(Nanoseconds{kSecond});
    for (OpenFlow& flow : flows_) {
      flow.settled = keep_busy(fleet, flow);
    }
  }
  fleet.engine().hand_down_round();
  for (OpenFlow& flow : flows_) {
    look_up(fleet, flow);
    const bool settled = flow.settled && !flow.ended;
    for (FlowDirection& direction : flow.directions) {
      ClassTally& tally = tally_of(direction);
      tally.settled += settled ? 1 : 0;
      if (direction.handed_down && !changes_) {
        EXPECT_EQ(direction.handed_down->flags, flags_of(direction.is)) << direction.is.text();
      }
      tally.handed_down += settled && direction.handed_down && holds(fleet, *direction.handed_down) ? 1 : 0;
    }
  }
  lease_packets_ = lease_bytes_ = 0;
  for (const isthmus_lease& lease : fleet.kernel_flows().leases()) {
    lease_packets_ += lease.packets, lease_bytes_ += lease.bytes;
  }
}

// What the leases have counted since flows were handed down is what was forwarded.
void ExecutorComparison::check_leases(RandomFleet& fleet) {
  if (number_ == 0) {
    return;
  }
  std::uint64_t packets = 0, bytes = 0;
  for (const isthmus_lease& lease : fleet.kernel_flows().leases()) {
    packets += lease.packets, bytes += lease.bytes;
  }
  EXPECT_EQ(packets, lease_packets_) << fleet.text() << ", packet " << number_;
  EXPECT_EQ(bytes, lease_bytes_) << fleet.text() << ", packet " << number_;
}

void ExecutorComparison::send_one(RandomFleet& fleet, Dice& dice) {
  if (flows_.empty()) {
    return;
  }
  OpenFlow& flow = dice.of(flows_);
  const FlowDirection& direction = flow.directions[dice.below(2)];
  const VariedPacket packet = vary(fleet, direction, dice);
  flow.ended = flow.ended || (direction.is.protocol == IpProtocol::kTcp && opens_or_closes(packet));
  compare(fleet, direction, packet);
}

void ExecutorComparison::compare(RandomFleet& fleet, const FlowDirection& direction, const VariedPacket& packet) {
  SteeredDevice& device = fleet.device(packet.device);
  const FrameBytes& frame = packet.frame.bytes;
  const bool held = direction.handed_down && holds(fleet, *direction.handed_down);
  const isthmus_lease before = held ? fleet.kernel_flows().leases()[direction.handed_down->lease] : isthmus_lease{};
  const KernelOutcome kernel = device.kernel(frame), reference = device.without_flows(frame);
  const bool forwarded = kernel.verdict == KernelVerdict::kForwarded;
  std::vector<SentFrame> sent;
  if (reference.verdict == KernelVerdict::kTaken) {
    sent = fleet.engine_turn(packet.device, frame);
  }
  count(direction, packet, held, forwarded, !sent.empty());
  if (!forwarded) {
    if (kernel.verdict != reference.verdict || kernel.bytes != frame) {
      difference("what is not forwarded must go where it would go without flows, as it came", direction, packet,
                 {{"kernel", kernel.bytes}, {"without flows", reference.bytes}});
    }
    return;
  }
  lease_packets_ += 1;
  if (reference.verdict != KernelVerdict::kTaken) {
    return difference("forwarded what the engine would not have got", direction, packet, {{"kernel", kernel.bytes}});
  }
  if (packet.expected == Expected::kUp) {
    return difference("forwarded what the engine must see", direction, packet, {{"kernel", kernel.bytes}});
  }
  compare_forwarded(fleet, direction, packet, kernel, sent);
  if (held && !packet.damaged) {
    const isthmus_lease& after = fleet.kernel_flows().leases()[direction.handed_down->lease];
    EXPECT_EQ(after.packets - before.packets, 1u) << direction.arrival.text();
    EXPECT_EQ(after.bytes - before.bytes, inner_bytes(kernel.bytes, fleet.tunnel())) << direction.arrival.text();
  }
}

void ExecutorComparison::count(const FlowDirection& direction, const VariedPacket& packet, bool held, bool forwarded,
                               bool sent) {
  ++tallies_.packets;
  tallies_.forwarded += forwarded ? 1 : 0;
  tallies_.sent_by_engine += sent ? 1 : 0;
  if (!packet.what.empty() && packet.what.find(" + ") == std::string::npos) {
    Tallies::Oddity& oddity = tallies_.oddities[packet.what];
    ++oddity.packets;
    oddity.forwarded += forwarded ? 1 : 0;
    oddity.sent_by_engine += sent ? 1 : 0;
  }
  ClassTally& tally = tally_of(direction);
  if (held && packet.expected == Expected::kForwarded) {
    ++tally.plain;
    tally.plain_forwarded += forwarded ? 1 : 0;
  } else {
    ++tally.odd;
    tally.odd_forwarded += forwarded ? 1 : 0;
  }
}

void ExecutorComparison::compare_forwarded(RandomFleet& fleet, const FlowDirection& direction,
                                           const VariedPacket& packet, const KernelOutcome& kernel,
                                           const std::vector<SentFrame>& sent) {
  if (sent.size() != 1) {
    std::vector<std::pair<std::string, FrameBytes>> frames{{"kernel", kernel.bytes}};
    for (const SentFrame& frame : sent) {
      frames.emplace_back("engine", frame.bytes);
    }
    return difference("the engine sent " + std::to_string(sent.size()) + " frames", direction, packet, frames);
  }
  const SentFrame& by_engine = sent.front();
  lease_bytes_ += inner_bytes(by_engine.bytes, fleet.tunnel());
  const std::vector<std::pair<std::string, FrameBytes>> both{{"kernel", kernel.bytes}, {"engine", by_engine.bytes}};
  if (!same_frame(kernel.bytes, by_engine.bytes, fleet.tunnel())) {
    return difference("other bytes", direction, packet, both);
  }
  // To which device, the source MAC address tells and, for a packet of this direction, the entry that was looked up.
  if (!packet.damaged && direction.handed_down && DeviceId{direction.handed_down->device} != by_engine.device) {
    return difference("leaves by another device", direction, packet, both);
  }
}

void ExecutorComparison::difference(const std::string& what, const FlowDirection& direction, const VariedPacket& packet,
                                    const std::vector<std::pair<std::string, FrameBytes>>& frames) {
  ++tallies_.differences;
  std::string text = what + ": fleet " + std::to_string(seed_) + ", packet " + std::to_string(number_) + ", " +
                     direction.is.text() + "\n  " + direction.arrival.text() + "\n  on device " +
                     std::to_string(packet.device.value()) + ": " + (packet.what.empty() ? "plain" : packet.what) +
                     "\n  in:\n    " + hex(packet.frame.bytes);
  for (const auto& [name, bytes] : frames) {
    text += "\n  " + name + ":\n    " + hex(bytes);
  }
  ADD_FAILURE() << text;
}

}  // namespace isthmus::test
