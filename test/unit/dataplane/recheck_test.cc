// A decision that is rechecked by its parts is what deciding it anew would have made: two gateways get the same packets
// and the same changes, but every change also moves every word of the second one, which must decide from the start.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "test/unit/dataplane/twins.h"

namespace isthmus::test {
namespace {

const Actors at;

void happen(Twins& twins, Random& random) {
  constexpr std::array kKinds{happen_to_endpoint, happen_to_service, happen_to_peer};
  kKinds[any(random, kKinds.size())](twins, random);
}

void send(Twins& twins, std::uint32_t which, std::uint8_t flags) {
  const Endpoint second{at.client.address, 40001}, third{at.client.address, 80}, caller{at.west.address, 5555};
  switch (which) {
    case 0:
      return twins.local(tcp(at.client, at.remote_service, flags));
    case 1:
      return twins.from_west(tcp(at.west, at.client, flags));  // the service's reply
    case 2:
      return twins.local(tcp(second, at.west, flags));
    case 3:
      return twins.from_west(tcp(at.west, second, flags));
    case 4:
      return twins.from_west(tcp(caller, third, flags));
    default:
      return twins.local(tcp(third, caller, flags));
  }
}

TEST(Recheck, AgreesWithDecidingAnew) {
  std::uint64_t rechecked = 0, decided = 0;
  for (unsigned seed = 1; seed <= kTwinRuns; ++seed) {
    std::mt19937 random(seed);
    Twins twins(Twins::Anew::kAfterChanges);
    for (unsigned step = 0; step < 60; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      happen(twins, random);
      for (unsigned i = 0; i < 8; ++i) {
        send(twins, static_cast<std::uint32_t>(random() % 6), random() % 6 == 0 ? kSyn : kAck);
        ASSERT_FALSE(::testing::Test::HasFailure());
      }
    }
    rechecked += twins.keeps.counters().revalidations;
    decided += twins.decides.counters().revalidations;
  }
  EXPECT_GT(rechecked, 15u * kTwinRuns);
  EXPECT_LT(rechecked, decided) << "the second one is the stricter";
}

}  // namespace
}  // namespace isthmus::test
