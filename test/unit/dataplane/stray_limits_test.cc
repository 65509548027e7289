// How many errors about connections of other gateways pass: by who reports, whatever they quote.
#include <gtest/gtest.h>

#include <functional>

#include "test/unit/dataplane/stray_rig.h"

namespace isthmus::test {
namespace {

using Rig = StrayRig;

// Errors per second of a kind, of which a /24 or /64 has a quarter.
Rig limited_to(std::uint32_t errors) {
  PathRig::Options options;
  options.engine.icmp_errors_per_second = errors;
  return Rig(options);
}
// How many of a thousand errors pass by `send`, which is given a number for each.
std::size_t passing(Rig& rig, const std::function<Outcome(Rig&, std::uint16_t)>& send) {
  std::size_t out = 0;
  for (std::uint16_t number = 1; number <= 1000; ++number) {
    const Outcome outcome = send(rig, number);
    out += outcome.out.size();
    EXPECT_EQ(outcome.out.empty(), outcome.drops == (Drops{{"icmp_limited", 1}})) << outcome.text();
  }
  EXPECT_GE(out, 3u);
  return out;
}

// Which limit is whose follows from a keyed hash: two may have one, but rarely.
void expect_share_of_its_own(const std::function<std::size_t(Rig&)>& passing_after_a_flood) {
  std::size_t passed = 0;
  for (int times = 0; times < 6; ++times) {
    Rig rig = limited_to(12);
    passed += passing_after_a_flood(rig);
  }
  EXPECT_GE(passed, 4u);
}
// A pod of the prefix's /24 of that number.
Endpoint pod_of(const char* prefix, std::uint16_t number) {
  return {Actors::ip((prefix + std::to_string(number / 4) + ".10").c_str()), number};
}

// The reporter makes up what it quotes: no number of quotes gets it more than its share.
TEST(StrayLimits, AreLimitedByReporterWhateverTheyQuote) {
  Rig rig = limited_to(12);
  const auto report = [](Rig& to, std::uint16_t n) {
    return to.from_underlay(from_west(too_big(kWestRouter, udp({at.client.address, n}, pod_of("10.2.", n)))));
  };
  EXPECT_LT(passing(rig, report), 200u);
  EXPECT_LT(passing(rig,
                    [](Rig& to, std::uint16_t n) {
                      return to.from_local(too_big(kRouter, udp({at.west.address, n}, pod_of("10.1.", n))));
                    }),
            200u)
      << "without a peer";
  EXPECT_EQ(rig.from_underlay(from_west(too_big(at.west.address, udp(at.client, at.west)))).out.size(), 1u)
      << "a pod's word is apart from those of nodes";
}

TEST(StrayLimits, AreLimitedByPeerWhateverTheirSource) {
  const auto report = [](Rig& to, std::uint16_t n) {
    const Endpoint pod = pod_of("10.2.", n);
    return to.from_underlay(from_west(too_big(pod.address, udp({at.client.address, n}, pod))));
  };
  Rig rig = limited_to(12);
  EXPECT_LT(passing(rig, report), 200u);
  const PacketSpec north = too_big(at.north.address, udp(at.client, at.north));
  expect_share_of_its_own([&](Rig& flooded) {
    for (std::uint16_t n = 1; n < 200; ++n) {
      report(flooded, n);
    }
    return flooded.from_underlay(PacketSpec(north).in_tunnel(at.north_gateway, at.gateway, kRemoteNode)).out.size();
  });
}

TEST(StrayLimits, OfAPodDoNotTakeTheShareOfItsNodeOrOfOtherPrefixes) {
  const Endpoint pod{Actors::ip("10.1.9.10"), 5}, other{Actors::ip("10.1.8.10"), 5};
  const auto report = [](Rig& to, const Endpoint& from, std::uint16_t number) {
    return to.from_local(too_big(from.address, udp({at.west.address, number}, from)));
  };
  Rig rig = limited_to(12);
  EXPECT_LT(passing(rig, [&](Rig& to, std::uint16_t n) { return report(to, pod, n); }), 200u);
  EXPECT_EQ(rig.from_local(too_big(kRouter, udp(at.west, at.client))).out.size(), 1u) << "of the same /24";
  expect_share_of_its_own([&](Rig& flooded) {
    for (std::uint16_t n = 1; n < 50; ++n) {
      report(flooded, pod, n);
    }
    return report(flooded, other, 1).out.size();
  });
}

// A member that sends what makes our nodes report would silence them towards all.
TEST(StrayLimits, OfErrorsToOneClusterDoNotTakeTheShareOfThoseToAnother) {
  const auto report = [](Rig& to, std::uint16_t number) {
    return to.from_local(too_big(kRouter, udp({at.west.address, number}, at.client)));
  };
  Rig rig = limited_to(12);
  EXPECT_LT(passing(rig, report), 200u);
  expect_share_of_its_own([&](Rig& flooded) {
    for (std::uint16_t n = 1; n < 50; ++n) {
      report(flooded, n);
    }
    return flooded.from_local(too_big(kRouter, udp(at.north, at.client))).out.size();
  });
}

TEST(StrayLimits, OfOneKindDoNotTakeTheShareOfAnother) {
  for (const auto& [from, to] : {std::pair{at.west, at.client}, {at.west6, at.client6}}) {
    const bool v4 = from.address.is_ipv4();
    const auto error = [&, from = from, to = to](std::uint8_t type, std::uint8_t code, std::uint16_t number) {
      return icmp_error(to.address, from.address, type, code, udp({from.address, number}, to).ip_bytes());
    };
    Rig rig = limited_to(12);
    EXPECT_LT(passing(rig,
                      [&](Rig& there, std::uint16_t n) {
                        return there.from_local(error(v4 ? 3 : 2, v4 ? 4 : 0, n).with_mtu(1300));
                      }),
              200u);
    EXPECT_EQ(rig.from_local(error(v4 ? 11 : 3, 0, 1)).out.size(), 1u) << "time exceeded";
    EXPECT_EQ(rig.from_local(error(v4 ? 3 : 1, v4 ? 3 : 4, 1)).out.size(), 1u) << "unreachable";
  }
}

TEST(StrayLimits, CopiesCountAsErrors) {
  const PacketSpec error = too_big(kRouter, tcp(at.west, at.local_backend, kAck));
  const std::pair<std::uint32_t, std::size_t> rows[] = {{4, 1}, {8, 2}, {400, 2}};
  for (const auto& [limit, expected] : rows) {
    Rig rig = limited_to(limit);
    rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
    EXPECT_EQ(rig.from_local(error).out.size(), expected) << limit;
    EXPECT_EQ(rig.counters().icmp_copied, expected - 1) << limit;
  }
}

TEST(StrayLimits, OfNoneAllowedNonePass) {
  Rig rig = limited_to(0);
  expect_drop("icmp_limited", rig.from_local(too_big(kRouter, tcp(at.west, at.client, kAck))));
}

}  // namespace
}  // namespace isthmus::test
