// What XDP has forwarded is told to everybody who asks until what follows from it is done.
#include "dataplane/conntrack/leases.h"

#include <gtest/gtest.h>

#include <array>

namespace isthmus {
namespace {

TEST(Leases, UseIsToldUntilWhatFollowsFromItIsThere) {
  std::array<isthmus_lease, 4> memory{};
  const Leases leases(memory);
  const auto tell = [&](auto&& used) { leases.tell_moved(1, Direction::kReply, used); };
  unsigned told = 0;
  tell([&] { ++told; });
  EXPECT_EQ(told, 0u) << "nothing has been forwarded";
  memory[Leases::index(1, Direction::kReply)].packets = 3;
  tell([&] {
    ++told;
    tell([&] { ++told; });  // another thread, which would take the connection for idle
  });
  EXPECT_EQ(told, 2u);
  tell([&] { ++told; });
  EXPECT_EQ(told, 2u) << "idle since then";
  leases.begin(1, Direction::kReply, {7, 700});
  tell([&] { ++told; });
  EXPECT_EQ(told, 2u);
}

}  // namespace
}  // namespace isthmus
