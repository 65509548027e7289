// What is down stays while it is used, makes room for what is busier, and follows its next hops.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string_view>
#include <vector>

#include "test/unit/handdown/down_rig.h"

namespace isthmus::test {
namespace {

DownRig::Flow numbered(const DownRig& down, std::uint16_t n) {
  return {{down.at().client.address, static_cast<std::uint16_t>(42000 + n)}, down.at().west, down.at().west};
}

// Rounds in which the worker visits every slot.
void age(DownRig& down) {
  for (unsigned i = 0; i < 4; ++i) {
    down.pass(2);
    static_cast<void>(down.rig().idle());
  }
}

TEST(TakeBack, AConnectionThatXdpForwardsDoesNotExpire) {
  DownRig::Setup setup;
  setup.rig.engine.timeouts.tcp = Seconds{20};
  DownRig down(std::move(setup));
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto there = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(there);
  for (unsigned turn = 0; turn < 3; ++turn) {  // without a look of the thread
    down.lease(*there).packets += 10;
    down.pass(30);
    age(down);
    ASSERT_TRUE(down.down(flow)) << turn;
  }
  EXPECT_EQ(down.counters().connections.expired, 0u);
  down.pass(30);
  age(down);
  EXPECT_EQ(down.counters().connections.expired, 1u) << "nothing has been forwarded since";
  EXPECT_FALSE(down.down(DownRig::key_there(flow)));
}

TEST(TakeBack, ALookCountsAsUse) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto back = down.entry(DownRig::key_back(flow));
  ASSERT_TRUE(back);
  down.pass(100);
  EXPECT_EQ(down.record(flow).idle_seconds, 100u);
  ++down.lease(*back).packets;
  down.round();
  EXPECT_EQ(down.record(flow).idle_seconds, 0u);
}

TEST(TakeBack, TheColdestMakeRoom) {
  DownRig down({.entries = 64, .packets_per_second = 1, .rig = {}});
  const unsigned room = static_cast<unsigned>(down.counters().handed_down_capacity);
  ASSERT_EQ(room, 31u);
  for (std::uint16_t n = 0; n < room; ++n) {
    down.establish(numbered(down, n));
  }
  down.pass(1);
  for (std::uint16_t n = 0; n < room; ++n) {
    static_cast<void>(down.rig().from_local(down.there(numbered(down, n))));
  }
  down.round();
  ASSERT_EQ(down.counters().handed_down_now, room);
  for (std::uint16_t n = 0; n < room; ++n) {
    down.lease(*down.entry(DownRig::key_there(numbered(down, n)))).packets += n < 4 ? 1 : 100;
  }
  down.round();
  EXPECT_EQ(down.counters().taken_back_cold, 6u);
  unsigned cold = 0;
  for (std::uint16_t n = 0; n < room; ++n) {
    cold += down.down(numbered(down, n)) ? 0 : 1;
    EXPECT_TRUE(n < 4 || down.down(numbered(down, n))) << n;
  }
  EXPECT_EQ(cold, 3u);
}

TEST(TakeBack, WhatHasJustGoneDownIsNotTheColdest) {
  DownRig down({.entries = 64, .packets_per_second = 1, .rig = {}});
  const auto hand_down = [&](std::uint16_t from, std::uint16_t to) {
    for (std::uint16_t n = from; n < to; ++n) {
      down.establish(numbered(down, n));
    }
    down.pass(1);
    for (std::uint16_t n = from; n < to; ++n) {
      static_cast<void>(down.rig().from_local(down.there(numbered(down, n))));
    }
    down.round();
  };
  const auto forward = [&](std::uint16_t n, unsigned packets) {
    down.lease(*down.entry(DownRig::key_there(numbered(down, n)))).packets += packets;
  };
  hand_down(0, 29);
  for (unsigned look = 0; look < 2; ++look) {
    for (std::uint16_t n = 0; n < 29; ++n) {
      forward(n, n < 3 ? 10 : 100);
    }
    down.round();
  }
  ASSERT_EQ(down.counters().taken_back_cold, 0u);
  for (std::uint16_t n = 0; n < 29; ++n) {
    forward(n, n < 3 ? 10 : 100);
  }
  hand_down(29, 31);
  for (std::uint16_t n = 0; n < 29; ++n) {
    forward(n, n < 3 ? 10 : 100);
  }
  down.round();
  EXPECT_EQ(down.counters().taken_back_cold, 6u);
  for (std::uint16_t n = 0; n < 31; ++n) {
    EXPECT_EQ(down.down(numbered(down, n)), n >= 3) << n;
  }
}

// Nobody has confirmed the decision of a flow that is refused, or that has nothing to send.
TEST(TakeBack, WhatIsRefusedDoesNotStayDown) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  ASSERT_TRUE(down.down(flow));
  down.rig().set_clusters({PathRig::kWestGateway}, false);  // not linked any more
  for (unsigned look = 0; look < 3; ++look) {
    EXPECT_TRUE(down.rig().from_local(down.there(flow)).out.empty());
    down.pass(1);
    down.round();
  }
  EXPECT_EQ(down.counters().handed_down_now, 0u);
  EXPECT_FALSE(down.record(flow).forward_handed_down);
  EXPECT_EQ(down.counters().taken_back_cold, 2u) << "both directions";
}

TEST(TakeBack, WhatIsConfirmedBetweenLooksStaysDownWhileTablesChange) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  TableDelta every_word;
  every_word.policy_defaults.emplace();
  for (unsigned look = 0; look < 4; ++look) {
    static_cast<void>(down.rig().from_local(down.there(flow)).only());
    static_cast<void>(down.rig().from_underlay(down.back(flow)).only());
    ASSERT_TRUE(down.rig().engine().publish(every_word).ok());
    ASSERT_FALSE(down.down(flow)) << "out of date at the look";
    down.pass(1);
    down.round();
  }
  EXPECT_EQ(down.counters().handed_down_now, 1u);
  EXPECT_EQ(down.counters().taken_back_cold, 0u);
}

TEST(TakeBack, WhatFindsNoPlaceInItsChainIsNotTriedWithoutEnd) {
  DownRig down({.entries = 1024, .packets_per_second = 1, .rig = {}});
  const auto of_port = [&](std::uint16_t port) {
    return DownRig::Flow{{down.at().client.address, port}, down.at().west, down.at().west};
  };
  std::map<std::uint64_t, std::vector<std::uint16_t>> chains;
  std::vector<std::uint16_t> one;
  for (std::uint16_t port = 2000; one.empty(); ++port) {
    const isthmus_flow_key key = DownRig::key_there(of_port(port));
    std::uint64_t ports = 0;
    std::memcpy(&ports, &key.source_port, sizeof ports);
    auto& chain = chains[isthmus_flow_hash(&key, ports, down.maps().secret()) >> down.maps().chain_shift()];
    chain.push_back(port);
    one = chain.size() > ISTHMUS_LONGEST_CHAIN ? chain : one;
  }
  for (const std::uint16_t port : one) {
    down.establish(of_port(port));
  }
  down.pass(1);
  for (const std::uint16_t port : one) {
    static_cast<void>(down.rig().from_local(down.there(of_port(port))));
  }
  for (unsigned round = 0; round < 5; ++round) {
    down.round(false);
  }
  EXPECT_EQ(down.counters().hand_down_insert_failures, 1u);
  EXPECT_EQ(down.counters().handed_down_now, ISTHMUS_LONGEST_CHAIN + 1u) << "its replies have another chain";
  EXPECT_EQ(down.counters().handed_down_one_way, 1u);
}

TEST(TakeBack, ANextHopsAddressesAreThereAtOnce) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto there = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(there);
  Engine& engine = down.rig().engine();
  const isthmus_hop& hop = down.maps().hops()[there->next_hop];
  const AdjacencyId id = engine.adjacency(DeviceId{0}, Actors::ip("192.0.2.254"));
  engine.set_adjacency(id, MacAddress::parse("02:00:00:00:00:99"));
  EXPECT_EQ(hop.addresses[5], 0x99);
  EXPECT_EQ(hop.resolved, 1u);
  engine.set_adjacency(id, std::nullopt);
  EXPECT_EQ(hop.resolved, 0u);
  engine.release_adjacency(id);
  EXPECT_EQ(hop.resolved, 0u);
  down.round();
  EXPECT_FALSE(down.entry(DownRig::key_there(flow)));
  EXPECT_EQ(down.counters().taken_back_moved, 1u);
}

TEST(TakeBack, APeerThatIsAnotherOneUnderItsNumberGetsAnotherRecord) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto before = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(before && down.holds(*before));
  TableDelta delta;
  delta.upsert_peers = {{PathRig::kWestGateway, ClusterId{2}, down.at().west_gateway, L4Port{4789},
                         down.rig().engine().adjacency(DeviceId{0}, Actors::ip("192.0.2.254")), true,
                         EncapsulationKind::kVxlan, EncapsulationKind::kVxlan}};
  ASSERT_TRUE(down.rig().engine().publish(delta).ok());
  EXPECT_NE(down.lease(*before).valid, 1u) << "before a packet can confirm the decision, which is the same";
  static_cast<void>(down.rig().from_local(down.there(flow)));
  static_cast<void>(down.rig().from_underlay(down.back(flow)));
  EXPECT_NE(down.lease(*before).valid, 1u);
  down.round();
  const auto after = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(after && down.holds(*after));
  EXPECT_EQ(down.maps().tunnels()[after->tunnel].header[36], 4789 >> 8);
}

// While it is there, the kernel refuses to wait for running programs: the engine's descriptor is not a map.
class NoGracePeriods {
 public:
  NoGracePeriods() {
    for (int fd = 3; fd < 1024; ++fd) {
      bpf_map_info info{};
      std::uint32_t size = sizeof info;
      if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && std::string_view(info.name) == "isthmus_grace") {
        fd_ = fd;
      }
    }
    kept_ = dup(fd_);
    const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    EXPECT_EQ(dup2(other, fd_), fd_);
    close(other);
  }
  ~NoGracePeriods() {
    EXPECT_EQ(dup2(kept_, fd_), fd_);
    close(kept_);
  }
  NoGracePeriods(const NoGracePeriods&) = delete;
  NoGracePeriods& operator=(const NoGracePeriods&) = delete;

 private:
  int fd_ = -1, kept_ = -1;
};

TEST(TakeBack, WhatProgramsMayStillUseIsNotUsedAgain) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto before = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(before);
  {
    const NoGracePeriods none;
    static_cast<void>(down.rig().from_local(down.there(flow, kRst)));
    down.round();
    EXPECT_FALSE(down.entry(DownRig::key_there(flow)));
    down.hand_down(flow);
    const auto after = down.entry(DownRig::key_there(flow));
    ASSERT_TRUE(after && down.holds(*after));
    EXPECT_NE(after->lease, before->lease);
    EXPECT_NE(down.lease(*before).valid, 0u) << "it is nobody's already";
    EXPECT_EQ(down.counters().hand_down_wait_failures, 2u);
    EXPECT_EQ(down.counters().handed_down_now, 2u);
  }
  down.round();
  down.round();
  EXPECT_EQ(down.lease(*before).valid, 0u);
  EXPECT_EQ(down.counters().hand_down_wait_failures, 2u);
  EXPECT_EQ(down.counters().handed_down_now, 1u);
  EXPECT_TRUE(down.down(flow));
}

TEST(TakeBack, AConnectionWithTheSameKeyWaitsForTheEntryOfItsPredecessor) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto before = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(before);
  static_cast<void>(down.rig().from_local(down.there(flow, kRst)));
  ASSERT_NE(down.lease(*before).valid, 1u);
  down.establish(flow);
  EXPECT_NE(down.lease(*before).valid, 1u) << "the lease was another connection's";
  down.heat(flow);
  down.round();
  const auto after = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(after && down.holds(*after));
  EXPECT_EQ(down.counters().taken_back_ending, 2u);
  EXPECT_EQ(down.counters().hand_down_insert_failures, 0u);
}

}  // namespace
}  // namespace isthmus::test
