// A connection that is opened by a pattern (slowpath/patterns.h) is what deciding it anew would have made: the first of
// two gateways has patterns, the second none that hold.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "test/unit/dataplane/twins.h"

namespace isthmus::test {
namespace {

const TwinActors at;

void happen(Twins& twins, Random& random) {
  constexpr std::array kKinds{happen_to_endpoint, happen_to_endpoint, happen_to_service,
                              happen_to_peer,     happen_to_policy,   happen_to_mtu};
  kKinds[any(random, kKinds.size())](twins, random);
}

// Connections that differ in nothing but the source port, or their replies.
struct Theme {
  bool outward = true, udp = false;
  Endpoint ours, theirs;
  Endpoint answers;  // from where replies come
};

Theme any_theme(Random& random) {
  Theme theme;
  theme.outward = any(random, 3) != 0;
  theme.udp = any(random, 4) == 0;
  theme.ours = any(random, 3) == 0 ? at.second_client : at.client;
  theme.theirs = any(random, 3) == 0 ? at.second_west : at.west;
  if (any(random, 4) == 0) {
    theme.theirs.port = 9001;
  }
  theme.answers = theme.theirs;
  if (theme.outward && !theme.udp && any(random, 2) == 0) {
    theme.theirs = any(random, 3) == 0 ? at.twin_service : at.remote_service;
    theme.answers = at.west;
  }
  return theme;
}

// A packet of one of sixteen connections: the first one, a later one, or a reply.
void send(Twins& twins, Theme theme, Random& random) {
  const auto port = static_cast<std::uint16_t>(40000 + any(random, 16));
  (theme.outward ? theme.ours : theme.theirs).port = port;
  if (!theme.outward) {
    theme.ours.port = 80;
    theme.answers = theme.theirs;
  }
  const std::uint32_t kind = any(random, 8);
  const auto packet = [&](const Endpoint& from, const Endpoint& to, std::uint8_t flags) {
    const PacketSpec spec = theme.udp ? udp(from, to) : tcp(from, to, flags);
    return kind == 7 ? PacketSpec(spec).with_payload(1350).with_df() : spec;
  };
  const bool replies = kind < 2;
  const std::uint8_t flags = kind < 5 && !replies ? kSyn : kAck;
  if (theme.outward != replies) {
    twins.local(packet(theme.ours, theme.theirs, flags));
  } else {
    twins.from_west(packet(replies ? theme.answers : theme.theirs, theme.ours, replies ? kSyn | kAck : flags));
  }
}

TEST(Patterns, AgreeWithDecidingAnew) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    Twins twins(Twins::Anew::kAlways);
    Theme theme = any_theme(random);
    for (unsigned step = 0; step < 20; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      Theme other = any_theme(random);
      for (unsigned i = 0; i < 30; ++i) {
        send(twins, i % 4 == 3 ? other : theme, random);
        ASSERT_FALSE(::testing::Test::HasFailure());
      }
      theme = any(random, 3) == 0 ? other : theme;
      happen(twins, random);
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
}

}  // namespace
}  // namespace isthmus::test
