// As many hubs as a ClusterMesh can have, each with its own configuration and connection, in one process.
#include <gtest/gtest.h>

#include <fstream>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

constexpr unsigned kFew = 10, kAll = 250;
constexpr std::uint64_t kMaxThreads = 40;      // of the source and of gRPC, whose thread pool varies
constexpr std::uint64_t kMaxPerHub = 2 << 20;  // bytes of memory: connection, certificates, keys

// A line of /proc/self/status, "Threads" or "VmRSS" (kB).
std::uint64_t of_process(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return std::stoull(line.substr(name.size() + 1));
    }
  }
  return 0;
}

std::string name_of(unsigned i) { return "c" + std::to_string(i); }
std::string address_of(unsigned i) { return "10." + std::to_string(i) + ".0.1"; }

class ManyHubs : public testing::Test {
 protected:
  ManyHubs() : rig("root") {}  // one server acts as all hubs: keys contain the cluster's name
  void SetUp() override { ISTHMUS_NEEDS_ETCD(); }
  void follow(unsigned first, unsigned last) {
    for (unsigned i = first; i <= last; ++i) {
      const std::string name = name_of(i), cache = "cilium/cache/";
      server->put({{"cilium/cluster-config/" + name, hub::config(i, R"("cached":true)")},
                   {cache + "nodes/v1/" + name + "/n",
                    hub::node("n", "192.0.2." + std::to_string(i), "10." + std::to_string(i) + ".0.0/16", name, i)},
                   {cache + "ip/v1/" + name + "/" + address_of(i), hub::ip(address_of(i), (i << 16) + 7)}});
      rig.follow(name, *server);
    }
  }
  // 250 handshakes on a loaded machine take longer than one timeout.
  bool all_synced(unsigned count) { return await_sync(count) || await_sync(count) || await_sync(count); }
  bool await_sync(unsigned count) {
    return rig.until([&] {
      const auto states = rig.source->states();
      return states.size() == count &&
             std::all_of(states.begin(), states.end(),
                         [](const HubState& state) { return state.sync == HubState::Sync::kSynced; }) &&
             rig.members().size() == count + 1;
    });
  }
  // The hubs that are not synced, with their last error.
  [[nodiscard]] std::string laggards() const {
    std::string text = std::to_string(rig.members().size()) + " members";
    for (const HubState& state : rig.source->states()) {
      if (state.sync != HubState::Sync::kSynced) {
        text += "\n" + state.name + ": " + state.last_error + ", " + std::to_string(state.connects) + " connects";
      }
    }
    return text + "\n" + rig.problem_text();
  }
  std::unique_ptr<EtcdServer> server;
  EtcdRig rig;
};

TEST_F(ManyHubs, ShareAFewThreadsAndBoundedMemory) {
  server = std::make_unique<EtcdServer>();
  hub::heartbeat(*server);
  rig.options.own_id = ClusterId{255};
  rig.options.reads_per_second = 20;
  follow(1, kFew);
  rig.start();
  ASSERT_TRUE(all_synced(kFew)) << laggards();
  const std::uint64_t memory = of_process("VmRSS");
  follow(kFew + 1, kAll);
  ASSERT_TRUE(all_synced(kAll)) << laggards();
  EXPECT_LE(of_process("Threads"), kMaxThreads);
  EXPECT_LT((of_process("VmRSS") - memory) * 1024, (kAll - kFew) * kMaxPerHub);
  for (unsigned i = 1; i <= kAll; ++i) {
    ASSERT_NE(rig.address(address_of(i), name_of(i)), nullptr) << i;
  }
  // Hubs are independent: removing one does not affect the others.
  rig.folder.remove("configs/c100");
  EXPECT_TRUE(rig.until([&] { return rig.address(address_of(100), "c100") == nullptr; }));
  EXPECT_EQ(rig.members().size(), kAll);
  // All hubs lose their server and reconnect.
  server->stop();
  EXPECT_TRUE(
      rig.until([&] { return !rig.is(HubState::Sync::kSynced, "c1") && !rig.is(HubState::Sync::kSynced, "c250"); }));
  EXPECT_NE(rig.address(address_of(250), "c250"), nullptr) << "the last known data was removed";
  server->start();
  hub::heartbeat(*server);
  EXPECT_TRUE(all_synced(kAll - 1)) << laggards();
  EXPECT_EQ(rig.redundant_removals, 0U);
  EXPECT_LE(of_process("Threads"), kMaxThreads);
}

}  // namespace
}  // namespace isthmus
