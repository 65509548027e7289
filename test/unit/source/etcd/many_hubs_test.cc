// As many hubs as a ClusterMesh has clusters, each with a configuration and a connection of its own, in one process.
#include <gtest/gtest.h>

#include <fstream>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

constexpr unsigned kFew = 10, kAll = 250;
constexpr std::uint64_t kMostThreads = 40;  // of the source and of gRPC, which starts and ends some as it needs them
constexpr std::uint64_t kMostPerHub = 2 << 20;  // bytes of memory: connection, certificates, keys

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
  ManyHubs() : rig("root") {}  // one server stands for all hubs: each cluster's data lies under its name
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
  // 250 handshakes on a loaded machine: more patience than a single hub needs.
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
  // Those that are behind, with their last error.
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
  hub::beat(*server);
  rig.options.own_id = ClusterId{255};
  rig.options.reads_per_second = 20;
  follow(1, kFew);
  rig.start();
  ASSERT_TRUE(all_synced(kFew)) << laggards();
  const std::uint64_t memory = of_process("VmRSS");
  follow(kFew + 1, kAll);
  ASSERT_TRUE(all_synced(kAll)) << laggards();
  EXPECT_LE(of_process("Threads"), kMostThreads);
  EXPECT_LT((of_process("VmRSS") - memory) * 1024, (kAll - kFew) * kMostPerHub);
  for (unsigned i = 1; i <= kAll; ++i) {
    ASSERT_NE(rig.address(address_of(i), name_of(i)), nullptr) << i;
  }
  // Each stands alone: what one hub loses touches nobody else.
  rig.folder.remove("configs/c100");
  EXPECT_TRUE(rig.until([&] { return rig.address(address_of(100), "c100") == nullptr; }));
  EXPECT_EQ(rig.members().size(), kAll);
  // All of them lose their server, and come back.
  server->stop();
  EXPECT_TRUE(
      rig.until([&] { return !rig.is(HubState::Sync::kSynced, "c1") && !rig.is(HubState::Sync::kSynced, "c250"); }));
  EXPECT_NE(rig.address(address_of(250), "c250"), nullptr) << "what is known stays in force";
  server->start();
  hub::beat(*server);
  EXPECT_TRUE(all_synced(kAll - 1)) << laggards();
  EXPECT_EQ(rig.idle_removals, 0U);
  EXPECT_LE(of_process("Threads"), kMostThreads);
}

}  // namespace
}  // namespace isthmus
