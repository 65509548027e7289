// Replies of a real etcd that EtcdFollower depends on: compactions and denials within a stream.
#include "control/source/etcd/client.h"

#include <gtest/gtest.h>

#include <optional>

#include "control/source/etcd/loop.h"
#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

class EtcdClientTest : public testing::Test {
 protected:
  void SetUp() override { ISTHMUS_NEEDS_ETCD(); }
  std::unique_ptr<EtcdClient> connect(const std::string& user) {
    const TestCertificate certificate = etcd_pki().client(user);
    EtcdClientOptions options;
    options.endpoint = server.url();
    options.ca = etcd_pki().ca();
    options.certificate = certificate.certificate;
    options.key = certificate.key;
    return connect_etcd(loop, options);
  }
  struct Canceled {
    bool created = false;
    std::int64_t compact_revision = 0;
    std::string reason;
  };
  // The first reply that cancels a watch.
  std::optional<Canceled> canceled(EtcdClient& client, const EtcdRange& range, std::int64_t start) {
    std::optional<Canceled> seen;
    EtcdTimer timeout(loop);
    timeout.set(std::chrono::seconds(30), [&] { loop.stop(); });
    const EtcdCallHandle call = client.watch(
        range, start,
        [&](const EtcdWatchReply& reply) {
          if (reply.canceled) {
            seen = {reply.created, reply.compact_revision, std::string(reply.reason)};
            loop.stop();
          }
        },
        [&](const EtcdFailure*) { loop.stop(); });
    loop.run([] {});
    return seen;
  }
  EtcdServer server;
  EtcdLoop loop;
};

TEST_F(EtcdClientTest, AWatchFromACompactedRevisionIsCanceledWithTheCompactRevision) {
  for (int i = 0; i < 20; ++i) {
    server.put("cilium/state/ip/v1/default/10.0.0.1", std::to_string(i));
  }
  server.compact();
  const auto client = connect("remote");
  const auto reply = canceled(*client, prefix_range("cilium/state/ip/v1/default/"), 2);
  ASSERT_TRUE(reply.has_value());
  EXPECT_GT(reply->compact_revision, 2);
}

TEST_F(EtcdClientTest, ADeniedWatchIsCanceledWithinItsStream) {
  const auto client = connect("remote");
  const auto reply = canceled(*client, prefix_range("cilium/"), 0);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->compact_revision, 0);
  EXPECT_NE(reply->reason.find("permission denied"), std::string::npos) << reply->reason;
}

}  // namespace
}  // namespace isthmus
