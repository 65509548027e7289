// The registration of a gateway in a real etcd: written, renewed, restored, and read by others.
#include "control/source/etcd/registration.h"

#include <gtest/gtest.h>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

class EtcdRegistrationTest : public testing::Test {
 protected:
  void SetUp() override {
    ISTHMUS_NEEDS_ETCD();
    hub::publish(server);
    const TestCertificate writer = etcd_pki().client("writer");
    rig.folder.write("pki/writer.crt", writer.certificate);
    rig.folder.write("pki/writer.key", writer.key);
    rig.folder.write("writer", "endpoints:\n- " + server.url() + "\ntrusted-ca-file: " + rig.folder.path("pki/ca.crt") +
                                   "\ncert-file: " + rig.folder.path("pki/writer.crt") +
                                   "\nkey-file: " + rig.folder.path("pki/writer.key") + "\n");
    options.config_file = rig.folder.path("writer");
    options.cluster = "west";
    options.gateway = {"west-1", "w1", {*IpAddress::parse("192.0.2.31")}, L4Port{8472}, {"vxlan"}};
    options.ttl = std::chrono::seconds(3);
    options.backoff_step = std::chrono::milliseconds(50);
    options.max_backoff = std::chrono::milliseconds(200);
    rig.follow("west", server);
    rig.start();
  }
  EtcdServer server;
  EtcdRig rig;
  EtcdRegistrationOptions options;
};

TEST_F(EtcdRegistrationTest, ARegisteredGatewayIsPublishedToOthers) {
  EtcdRegistration registration(options);
  registration.start();
  ASSERT_TRUE(rig.until([&] { return rig.find<GatewayObject>(ObjectKind::kGateway, "", "west-1") != nullptr; }))
      << registration.last_error();
  EXPECT_TRUE(rig.until([&] { return registration.registered(); }));  // others may see it before the answer is here
  EXPECT_EQ(registration.last_error(), "");
  EXPECT_NE(server.lease_of(registration.key()), 0);
}

TEST_F(EtcdRegistrationTest, ARevokedLeaseIsReplaced) {
  EtcdRegistration registration(options);
  registration.start();
  ASSERT_TRUE(rig.until([&] { return registration.registered(); })) << registration.last_error();
  const std::int64_t lease = server.lease_of(registration.key());
  server.revoke(lease);
  ASSERT_TRUE(rig.until([&] {
    const std::int64_t now = server.lease_of(registration.key());
    return now != 0 && now != lease && registration.registered();
  })) << registration.last_error();
}

TEST_F(EtcdRegistrationTest, TheKeyIsRestoredAfterTheHubWasWiped) {
  EtcdRegistration registration(options);
  registration.start();
  ASSERT_TRUE(rig.until([&] { return registration.registered(); })) << registration.last_error();
  server.start_empty("second");
  ASSERT_TRUE(rig.until([&] { return !server.get(registration.key()).empty(); })) << registration.last_error();
}

TEST_F(EtcdRegistrationTest, AStoppedGatewayDisappearsWithItsLease) {
  {
    EtcdRegistration registration(options);
    registration.start();
    ASSERT_TRUE(rig.until([&] { return rig.find<GatewayObject>(ObjectKind::kGateway, "", "west-1") != nullptr; }));
  }
  ASSERT_TRUE(rig.until([&] { return rig.find<GatewayObject>(ObjectKind::kGateway, "", "west-1") == nullptr; }));
}

TEST_F(EtcdRegistrationTest, AUserWithoutWriteAccessIsReported) {
  const TestCertificate reader = etcd_pki().client("remote");
  rig.folder.write("pki/writer.crt", reader.certificate);
  rig.folder.write("pki/writer.key", reader.key);
  EtcdRegistration registration(options);
  registration.start();
  ASSERT_TRUE(rig.until([&] { return registration.last_error().find("permission denied") != std::string::npos; }))
      << registration.last_error();
  EXPECT_FALSE(registration.registered());
}

}  // namespace
}  // namespace isthmus
