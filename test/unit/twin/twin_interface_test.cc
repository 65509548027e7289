// The interface itself: what it is like, and what becomes of it when others touch it.
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "test/unit/twin/twin_rig.h"

namespace isthmus::test {
namespace {

constexpr const char* kThreadName = "isthmus-host";

NetdevFacts facts(const char* interface = kTwin) {
  const auto found = netdev_facts(interface);
  EXPECT_TRUE(found) << found.error().text();
  return found ? *found : NetdevFacts{};
}

std::string error_of(const TwinOptions& options) {
  const auto twin = Twin::open(options);
  EXPECT_FALSE(twin);
  return twin ? "" : twin.error().text();
}

TEST_F(TwinTest, it_is_like_the_nic) {
  TwinOptions like = options();
  like.mtu = Bytes{1400};
  open_twin(like);
  EXPECT_EQ(facts().mac, kNicMac);
  EXPECT_EQ(facts().mtu, 1400u);
  EXPECT_TRUE(wait_until([] { return facts().running; }));
  EXPECT_EQ(threads_named(kThreadName), 1u);
  const MacAddress other{{0x02, 0, 0, 0, 0, 0x77}};
  EXPECT_TRUE(twin_->set_mac(other));
  EXPECT_TRUE(twin_->set_mtu(Bytes{1300}));
  EXPECT_EQ(facts().mac, other);
  EXPECT_EQ(facts().mtu, 1300u);
  twin_.reset();
  EXPECT_EQ(threads_named(kThreadName), 0u);
}

// The CPUs that the thread of that name may run on.
cpu_set_t cpus_of_thread(const std::string& name) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string found;
    std::getline(std::ifstream(task.path() / "comm"), found);
    if (found == name) {
      EXPECT_EQ(sched_getaffinity(std::stoi(task.path().filename()), sizeof cpus, &cpus), 0);
    }
  }
  return cpus;
}

TEST_F(TwinTest, its_thread_leaves_their_cpus_to_the_workers) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &all)) {
      cores.push_back(core);
    }
  }
  if (cores.size() < 2) {
    GTEST_SKIP() << "one CPU";
  }
  TwinOptions with = options();
  with.cores = {cores.front()};
  open_twin(with);
  cpu_set_t expected = all;
  CPU_CLR(static_cast<std::size_t>(cores.front()), &expected);
  cpu_set_t found = cpus_of_thread(kThreadName);
  EXPECT_TRUE(CPU_EQUAL(&found, &expected));
  twin_.reset();
  with.cores = cores;
  open_twin(with);
  found = cpus_of_thread(kThreadName);
  EXPECT_TRUE(CPU_EQUAL(&found, &all)) << "there are no others";
}

TEST_F(TwinTest, frames_up_to_its_mtu_pass_and_longer_ones_are_counted) {
  open_twin();
  PacketSocket host(kTwin);
  give(numbered(1, 1515));
  give(numbered(2, 1514));
  EXPECT_TRUE(host_receives(host, numbered(2, 1514)));
  EXPECT_EQ(counters().host_refused, 1u);
  ASSERT_TRUE(twin_->set_mtu(Bytes{3634}));
  give(numbered(3, 3649));
  give(numbered(4, 3648));
  EXPECT_TRUE(host_receives(host, numbered(4, 3648)));
  EXPECT_EQ(counters().host_refused, 2u);
  ASSERT_TRUE(host.send(numbered(5, 3648)));
  EXPECT_TRUE(take_until([](const FrameContent& frame) { return frame == numbered(5, 3648); }));
}

TEST_F(TwinTest, jumbo_frames_pass_where_the_nic_has_them_at_start) {
  TwinOptions jumbo = options();
  jumbo.mtu = Bytes{9000};
  open_twin(jumbo);
  PacketSocket host(kTwin);
  give(numbered(1, 9014));
  EXPECT_TRUE(host_receives(host, numbered(1, 9014)));
  ASSERT_TRUE(host.send(numbered(2, 9014)));
  EXPECT_TRUE(take_until([](const FrameContent& frame) { return frame == numbered(2, 9014); }));
  const auto beyond = twin_->set_mtu(Bytes{9001});
  ASSERT_FALSE(beyond);
  EXPECT_NE(beyond.error().text().find("its twin hold 9000"), std::string::npos) << beyond.error().text();
  EXPECT_EQ(facts().mtu, 9000u);
}

TEST_F(TwinTest, its_carrier_is_the_link_of_the_nic) {
  TwinOptions without = options();
  without.link = false;
  open_twin(without);
  EXPECT_TRUE(facts().up);
  EXPECT_TRUE(wait_until([] { return !facts().running; }));
  EXPECT_TRUE(check().problems.empty());
  EXPECT_FALSE(facts().running) << "a look at it changes nothing";
  ASSERT_TRUE(twin_->set_link(true));
  EXPECT_TRUE(wait_until([] { return facts().running; }));
  shell("ip addr add 192.0.2.1/24 dev nic0host");
  EXPECT_TRUE(host_answers());
  ASSERT_TRUE(twin_->set_link(false));
  EXPECT_TRUE(wait_until([] { return !facts().running; }));
}

TEST_F(TwinTest, a_removed_one_is_made_again_and_nothing_spins_meanwhile) {
  open_twin();
  shell("ip link del nic0host");
  EXPECT_TRUE(wait_until([] { return threads_named(kThreadName) == 0; })) << "the thread ends";
  give(numbered(1), 3);
  EXPECT_EQ(counters().host_refused, 3u);
  ASSERT_TRUE(twin_->set_mtu(Bytes{1400})) << "kept for when it is made again";
  ASSERT_TRUE(twin_->set_link(false));

  const DeviceCondition condition = check();
  EXPECT_TRUE(condition.problems.empty());
  ASSERT_EQ(condition.changes.size(), 1u);
  EXPECT_NE(condition.changes[0].find("nic0host: made the NIC's twin again"), std::string::npos);
  EXPECT_EQ(facts().mtu, 1400u);
  EXPECT_EQ(facts().mac, kNicMac);
  EXPECT_TRUE(wait_until([] { return !facts().running; }));
  ASSERT_TRUE(twin_->set_link(true));
  shell("ip addr add 192.0.2.1/24 dev nic0host");
  EXPECT_TRUE(host_answers());
  EXPECT_TRUE(check().changes.empty());
}

TEST_F(TwinTest, a_removal_under_traffic_is_noticed) {
  open_twin();
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    const auto pool = *FramePool::create({.chunks = 128, .pages = FramePages::kOrdinary});
    while (!stop) {
      give(twin_->queue(WorkerId{1}), *pool, numbered(0), 16);
    }
  });
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(wait_until([] { return kernel_counts().received > 100; }));
    shell("ip link del nic0host");
    ASSERT_TRUE(wait_until([&] { return !check().changes.empty(); }));
  }
  stop = true;
  worker.join();
  EXPECT_EQ(threads_named(kThreadName), 1u);
}

TEST_F(TwinTest, while_another_interface_has_the_name_of_a_removed_one_that_is_a_problem) {
  open_twin();
  shell("ip link del nic0host");
  shell("ip link add nic0host type veth peer name other");
  EXPECT_TRUE(wait_until([&] {
    const DeviceCondition condition = check();
    return condition.problems.size() == 1 &&
           condition.problems[0].text().find("nic0host: the name of the twin is that of another interface (veth)") == 0;
  }));
  EXPECT_EQ(threads_named(kThreadName), 0u);
  shell("ip link del nic0host");
  EXPECT_EQ(check().changes.size(), 1u);
  EXPECT_TRUE(wait_until([] { return facts().running; }));
}

TEST_F(TwinTest, one_that_is_down_is_a_problem_that_is_left_to_the_operator) {
  open_twin();
  shell("ip link set nic0host down");
  const DeviceCondition condition = check();
  ASSERT_EQ(condition.problems.size(), 1u);
  EXPECT_EQ(condition.problems[0].text(),
            "nic0host: the NIC's twin is down: the host is not reachable by it (ip link set nic0host up)");
  EXPECT_FALSE(facts().up);
  give(numbered(1), 2);
  EXPECT_TRUE(wait_until([&] { return counters().host_refused == 2; })) << "the kernel refuses them";
  shell("ip link set nic0host up");
  EXPECT_TRUE(check().problems.empty());
  shell("ip addr add 192.0.2.1/24 dev nic0host");
  EXPECT_TRUE(host_answers());
}

TEST_F(TwinTest, what_others_change_of_it_is_put_back) {
  open_twin();
  shell("ip link set nic0host mtu 1280 address 02:00:00:00:00:99");
  const DeviceCondition condition = check();
  EXPECT_EQ(condition.changes.size(), 2u);
  EXPECT_TRUE(condition.problems.empty());
  EXPECT_EQ(facts().mtu, 1500u);
  EXPECT_EQ(facts().mac, kNicMac);
  shell("ip link set nic0host carrier off");
  EXPECT_TRUE(wait_until([] { return !facts().running; }));
  EXPECT_TRUE(check().problems.empty());
  EXPECT_TRUE(wait_until([] { return facts().running; }));
  shell("ip link set nic0host name other");
  const DeviceCondition renamed = check();
  ASSERT_EQ(renamed.problems.size(), 1u);
  EXPECT_NE(renamed.problems[0].text().find("nic0host: cannot find the twin"), std::string::npos);
  shell("ip link set other name nic0host");
  EXPECT_TRUE(check().problems.empty());
}

TEST_F(TwinTest, one_that_was_left_over_is_adopted_with_its_addresses) {
  shell("ip tuntap add dev nic0host mode tap vnet_hdr && ip addr add 192.0.2.1/24 dev nic0host");
  const int index = facts().index;
  open_twin();
  EXPECT_EQ(facts().index, index);
  EXPECT_EQ(facts().mac, kNicMac);
  EXPECT_TRUE(host_answers());
  twin_.reset();
  EXPECT_TRUE(wait_until([] { return facts().up && !facts().running; })) << "it stays, without a carrier";
  open_twin();
  EXPECT_EQ(facts().index, index);
  EXPECT_TRUE(host_answers());
  EXPECT_TRUE(twin_->forget());
  twin_.reset();
  EXPECT_FALSE(netdev_facts(kTwin));
}

TEST_F(TwinTest, a_name_that_is_another_interfaces_is_refused) {
  shell("ip link add nic0host type veth peer name other");
  EXPECT_EQ(error_of(options()),
            "nic0host: the name of the twin is that of another interface (veth) (rename or remove "
            "that interface, or configure another name for the twin)");
  shell("ip link del nic0host && ip link add nic0host type bridge");
  EXPECT_NE(error_of(options()).find("another interface (bridge)"), std::string::npos);
  shell("ip link del nic0host && ip tuntap add dev nic0host mode tun");
  EXPECT_NE(error_of(options()).find("another interface (tun)"), std::string::npos);
  shell("ip link del nic0host && ip tuntap add dev nic0host mode tap multi_queue");
  EXPECT_NE(error_of(options()).find("may have several queues"), std::string::npos);
  shell("ip link del nic0host");
  open_twin();
  EXPECT_NE(error_of(options()).find("another process has the TAP"), std::string::npos);
}

TEST_F(TwinTest, what_is_not_an_interfaces_name_is_refused) {
  for (const char* name : {"", "a%d", "a/b", "..", "sixteen-letters-", "a b", "a:b"}) {
    TwinOptions wrong = options();
    wrong.interface = name;
    EXPECT_NE(error_of(wrong).find("not a name of an interface"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace isthmus::test
