// A flood of connections that nobody answers, through the engine: others' new connections succeed during it and after.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
constexpr std::uint32_t kPods = 8;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

Endpoint pod(std::uint32_t number, std::uint32_t n) {
  return {IpAddress::ipv4(Be32::of(0x0a010100 + number)), static_cast<std::uint16_t>(1024 + n % 60'000)};
}

PathRig::Options small_table() {
  PathRig::Options options;
  options.engine.connections = 4096;
  options.engine.half_open_limit = 1024;
  options.engine.flow_events_per_second = 0;
  return options;
}

// A client of the service, from SYN to the first data. `between` runs within the round trip.
template <typename Between>
bool connects(PathRig& rig, const Endpoint& client, Between&& between) {
  if (rig.from_local(tcp(client, at.remote_service)).out.size() != 1) {
    return false;
  }
  between();
  if (rig.from_underlay(from_west(tcp(at.west, client, kSyn | kAck))).out.size() != 1) {
    return false;
  }
  between();
  return rig.from_local(tcp(client, at.remote_service, kAck)).out.size() == 1;
}

std::uint64_t refused(const PathRig& rig) {
  std::uint64_t packets = 0;
  for (const DropCount& drop : rig.counters().drops) {
    packets += drop.name == "table_full" || drop.name == "half_open_limit" ? drop.packets : 0;
  }
  return packets;
}

enum class Answer { kNone, kSynAck };

// Eight times the limit. The flood's sources are the addresses of `pods` pods from `first` on.
void flood(Answer answer, IpProtocol protocol, std::uint32_t first, std::uint32_t pods) {
  PathRig rig(small_table());
  const Endpoint settled = pod(99, 1);
  ASSERT_TRUE(connects(rig, settled, [] {}));
  std::uint32_t n = 0, failed = 0;
  const auto some = [&] {
    for (unsigned i = 0; i < 10; ++i, ++n) {
      const Endpoint source = pod(first + n % pods, n);
      const PacketSpec spec = protocol == IpProtocol::kTcp ? tcp(source, at.remote_service) : udp(source, at.west);
      (void)rig.from_local(spec);
      if (answer == Answer::kSynAck) {
        (void)rig.from_underlay(from_west(tcp(at.west, source, kSyn | kAck)));
      }
    }
  };
  for (std::uint32_t client = 0; n < 8 * 1024; ++client) {
    failed += connects(rig, pod(client % kPods, 30'000 + client), some) ? 0 : 1;
  }
  for (std::uint32_t client = 0; client < 100; ++client) {
    failed += connects(rig, pod(client % kPods, 40'000 + client), [] {}) ? 0 : 1;
  }
  EXPECT_EQ(failed, 0u);
  EXPECT_EQ(refused(rig), 0u);
  EXPECT_EQ(rig.from_local(tcp(settled, at.remote_service, kAck)).out.size(), 1u) << "who was connected stays so";
  const EngineCounters counters = rig.counters();
  EXPECT_LE(counters.connections.half_open, 1024u);
  EXPECT_GT(counters.connections.half_open_evicted, 4000u);
}

TEST(Flood, OfOnePodHurtsNobodyElse) { flood(Answer::kNone, IpProtocol::kTcp, 50, 1); }
TEST(Flood, OfUnansweredDatagramsHurtsNobodyElse) { flood(Answer::kNone, IpProtocol::kUdp, 50, 1); }
TEST(Flood, WithTheNeighboursAddressesHurtsNobody) { flood(Answer::kNone, IpProtocol::kTcp, 0, kPods); }
TEST(Flood, ThatIsAnsweredButNotAcknowledgedHurtsNobody) { flood(Answer::kSynAck, IpProtocol::kTcp, 0, kPods); }

// The source ports of one backend, of which a pod takes all, with connections that nobody answers or that are open.
void take_all_ports(bool open) {
  PathRig::Options options = small_table();
  options.engine.translation_first = 40'000;
  options.engine.translation_last = 40'063;
  PathRig rig(options);
  std::uint32_t sent = 0;
  for (std::uint32_t n = 0; n < 100; ++n) {
    const Outcome first = rig.from_local(tcp(pod(50, n), at.local_service));
    sent += static_cast<std::uint32_t>(first.out.size());
    if (open && first.out.size() == 1) {
      const Endpoint translated{at.translation, first.only().packet.source_port};
      (void)rig.from_local(tcp(at.local_backend, translated, kSyn | kAck));
      (void)rig.from_local(tcp(pod(50, n), at.local_service, kAck));
    }
  }
  EXPECT_LE(sent, 64u) << "it cannot have more than there are";
  for (std::uint32_t n = 0; n < 20; ++n) {
    const Outcome first = rig.from_local(tcp(pod(60 + n % 4, n), at.local_service));
    ASSERT_EQ(first.out.size(), 1u) << first.text();
    const Endpoint translated{at.translation, first.only().packet.source_port};
    EXPECT_EQ(rig.from_local(tcp(at.local_backend, translated, kSyn | kAck)).only().packet.destination,
              pod(60 + n % 4, n).address);
    EXPECT_EQ(rig.from_local(tcp(pod(60 + n % 4, n), at.local_service, kAck)).out.size(), 1u);
  }
}
TEST(Flood, OfOnePodLeavesOthersTranslationPorts) { take_all_ports(false); }
TEST(Flood, OfOpenConnectionsOfOnePodLeavesOthersTranslationPorts) { take_all_ports(true); }

}  // namespace
}  // namespace isthmus::test
