// One decision, two executors: xdp/forward in the kernel's test run, and the engine over memory devices. What the
// kernel forwards, the engine sends byte for byte, by the same device; all else goes up as it came. And enough is
// forwarded.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <string>

#include "test/unit/xdp/differential/comparison.h"
#include "test/unit/xdp/differential/length.h"

namespace isthmus::test {
namespace {

// Of the directions that are settled and of the plain packets whose decision is handed down and holds.
constexpr double kLeastHandedDown = 0.98, kLeastForwarded = 1.0;

struct Share {
  std::uint64_t whole = 0, part = 0;
  void add(std::uint64_t more, std::uint64_t of_them) { whole += more, part += of_them; }
};

// What each of them must have: the classes that have a property, together.
template <typename Has>
void expect_share(const Tallies& tallies, const std::string& what, Has has) {
  Share directions, packets;
  for (const auto& [is, tally] : tallies.classes) {
    if (has(is)) {
      directions.add(tally.settled, tally.handed_down);
      packets.add(tally.plain, tally.plain_forwarded);
    }
  }
  EXPECT_GT(packets.part, 0u) << what << ": no packet was forwarded";
  EXPECT_GE(static_cast<double>(directions.part), kLeastHandedDown * static_cast<double>(directions.whole))
      << what << ": " << directions.part << " of " << directions.whole << " directions handed down";
  EXPECT_GE(static_cast<double>(packets.part), kLeastForwarded * static_cast<double>(packets.whole))
      << what << ": " << packets.part << " of " << packets.whole << " packets forwarded";
}

// Every kind of tunnel, over each family, on arrival and when leaving: those that there are, not those known here.
void expect_encapsulations(const Tallies& tallies) {
  for (const EncapsulationInfo& info : encapsulations()) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      for (const Family inside : {Family::kIpv4, Family::kIpv6}) {
        const bool tunnel = info.header_bytes != 0;
        const std::string name = std::string(info.name) + (underlay == Family::kIpv4 ? " over ipv4" : " over ipv6") +
                                 (inside == Family::kIpv4 ? " with ipv4" : " with ipv6");
        expect_share(tallies, "from " + name, [&](const FlowClass& is) {
          return is.from == info.kind && is.family == inside && (!tunnel || is.from_underlay == underlay);
        });
        expect_share(tallies, "to " + name, [&](const FlowClass& is) {
          return is.to == info.kind && is.family == inside && (!tunnel || is.to_underlay == underlay);
        });
      }
    }
  }
}

// Every flag of a decision, set and not set.
void expect_rewrites(const Tallies& tallies) {
  for (const RewriteRow& row : kRewriteRows) {
    for (const Family inside : {Family::kIpv4, Family::kIpv6}) {
      for (const IpProtocol protocol : {IpProtocol::kTcp, IpProtocol::kUdp}) {
        for (const bool set : {true, false}) {
          const std::string name = std::string(row.name) + (set ? "" : ": not") +
                                   (inside == Family::kIpv4 ? ", ipv4" : ", ipv6") +
                                   (protocol == IpProtocol::kTcp ? " tcp" : " udp");
          expect_share(tallies, name, [&](const FlowClass& is) {
            return row.applies(is) == set && is.family == inside && is.protocol == protocol;
          });
        }
      }
    }
  }
}

TEST(Differential, KernelAndEngineCarryOutOneDecision) {
  const DifferentialLength& length = differential_length();
  Tallies tallies;
  ExecutorComparison comparison(tallies);
  for (std::uint64_t i = 0; i < length.fleets && !HasFailure(); ++i) {
    const bool at_random = i + 1 == length.fleets;
    const std::uint64_t seed = at_random ? std::random_device{}() : length.seed + i;
    if (at_random) {
      std::cout << "seed at random: " << seed << " (--seed=" << seed << " --fleets=2)" << std::endl;
    }
    comparison.run(seed, length.packets / length.fleets, seed % 2 == 0);  // half of them change
  }
  std::cout << tallies.text();
  expect_encapsulations(tallies);
  expect_rewrites(tallies);
  EXPECT_TRUE(std::any_of(tallies.classes.begin(), tallies.classes.end(), [](const auto& each) {
    return each.first.on_underlay && each.second.plain_forwarded > 0;
  })) << "nothing of a native cluster was forwarded";
  for (const std::string& name : oddity_names()) {
    EXPECT_TRUE(tallies.oddities.contains(name)) << name;
  }
}

}  // namespace
}  // namespace isthmus::test
