// A watch that lags behind a real etcd until its revisions are compacted.
#include <gtest/gtest.h>

#include "test/support/tcp_proxy.h"
#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

// More than the buffers in between hold (some 3 MB) plus what the server queues for one watcher (1,024 replies).
constexpr int kChanges = 2000;
constexpr std::size_t kPadding = 8192;

std::string lag_address(int i) { return "10.52." + std::to_string(i / 250) + "." + std::to_string(i % 250); }

std::string long_value(const std::string& address) {
  std::string value = hub::ip(address, 331906);
  value.insert(value.size() - 1, R"(,"K8sServiceAccount":")" + std::string(kPadding, 'a') + '"');
  return value;
}

TEST(LaggingWatch, IsListedAgainAfterACompaction) {
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
    server.put("cilium/state/ip/v1/default/" + lag_address(i), long_value(lag_address(i)));
  }
  server.remove("cilium/state/ip/v1/default/10.51.7.40");
  server.put("cilium/state/ip/v1/default/10.53.0.1", hub::ip("10.53.0.1", 331906));
  EXPECT_GT(server.metric("etcd_debugging_mvcc_slow_watcher_total"), 0) << "the watcher is not slow";
  server.compact();
  rig.apply();
  EXPECT_EQ(rig.count(ObjectKind::kAddress), 1U) << "changes arrived through the frozen proxy";
  proxy.resume();

  EXPECT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == kChanges + 1U; }))
      << rig.count(ObjectKind::kAddress) << rig.problem_text();
  EXPECT_EQ(rig.address("10.51.7.40"), nullptr) << "the compacted deletion was missed";
  EXPECT_NE(rig.address("10.53.0.1"), nullptr);
  EXPECT_EQ(rig.address(lag_address(0))->identity, Identity{331906});
  EXPECT_GT(server.metric("grpc_server_started_total{grpc_method=\"Range\""), lists)
      << "the range was not listed again";
  EXPECT_EQ(proxy.connections(), connections) << "the connection was not kept";
  EXPECT_EQ(rig.state().connects, 1U);
  EXPECT_EQ(rig.redundant_removals, 0U);

  server.remove("cilium/state/ip/v1/default/10.53.0.1");
  EXPECT_TRUE(rig.until([&] { return rig.address("10.53.0.1") == nullptr; })) << "the watch was not resumed";
}

}  // namespace
}  // namespace isthmus
