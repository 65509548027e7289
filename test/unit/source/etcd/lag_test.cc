// A watch that lags behind a real etcd until its history is compacted away.
#include <gtest/gtest.h>

#include "test/support/tcp_proxy.h"
#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

// More than what sockets and windows in between hold (some 3 MB) and the server keeps for one watcher (1,024 replies).
constexpr int kChanges = 2000;
constexpr std::size_t kPadding = 8192;

std::string address_of(int i) { return "10.52." + std::to_string(i / 250) + "." + std::to_string(i % 250); }

std::string long_value(const std::string& address) {
  std::string value = hub::ip(address, 331906);
  value.insert(value.size() - 1, R"(,"K8sServiceAccount":")" + std::string(kPadding, 'a') + '"');
  return value;
}

TEST(LaggingWatch, IsListedAgainWhenItsHistoryIsGone) {
  ISTHMUS_NEEDS_ETCD();
  EtcdServer server;
  TcpProxy proxy(server.port());
  EtcdRig rig;
  rig.options.list_page = 256;
  rig.options.keepalive_time = std::chrono::minutes(5);
  rig.options.call_timeout = std::chrono::minutes(5);
  hub::publish(server);
  rig.folder.replace("configs/west", rig.config_text("https://127.0.0.1:" + std::to_string(proxy.port())));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(HubState::Sync::kSynced) && rig.address("10.51.7.40"); }));
  const unsigned connections = proxy.connections();
  const double lists = server.metric("grpc_server_started_total{grpc_method=\"Range\"");

  proxy.freeze();
  for (int i = 0; i < kChanges; ++i) {
    server.put("cilium/state/ip/v1/default/" + address_of(i), long_value(address_of(i)));
  }
  server.remove("cilium/state/ip/v1/default/10.51.7.40");
  server.put("cilium/state/ip/v1/default/10.53.0.1", hub::ip("10.53.0.1", 331906));
  EXPECT_GT(server.metric("etcd_debugging_mvcc_slow_watcher_total"), 0) << "the server has given up to send in time";
  server.compact();
  rig.apply();
  EXPECT_EQ(rig.count(ObjectKind::kAddress), 1U) << "nothing of this has come";
  proxy.release();

  EXPECT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == kChanges + 1U; }))
      << rig.count(ObjectKind::kAddress) << rig.problem_text();
  EXPECT_EQ(rig.address("10.51.7.40"), nullptr) << "its deletion was compacted away";
  EXPECT_NE(rig.address("10.53.0.1"), nullptr);
  EXPECT_EQ(rig.address(address_of(0))->identity, Identity{331906});
  EXPECT_GT(server.metric("grpc_server_started_total{grpc_method=\"Range\""), lists) << "it was listed again";
  EXPECT_EQ(proxy.connections(), connections) << "over the same connection";
  EXPECT_EQ(rig.state().connects, 1U);
  EXPECT_EQ(rig.idle_removals, 0U);

  server.remove("cilium/state/ip/v1/default/10.53.0.1");
  EXPECT_TRUE(rig.until([&] { return rig.address("10.53.0.1") == nullptr; })) << "and is watched again";
}

}  // namespace
}  // namespace isthmus
