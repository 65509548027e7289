// Certificates and roles: who may read, and which problem is reported otherwise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

using Sync = HubState::Sync;
using testing::ElementsAre;

class EtcdAccessTest : public testing::Test {
 protected:
  void SetUp() override {
    ISTHMUS_NEEDS_ETCD();
    hub::publish(server);
    rig.follow("west", server);
  }
  EtcdServer server;
  EtcdRig rig;
};

TEST_F(EtcdAccessTest, AnExpiredCertificateIsReportedAndItsReplacementIsUsed) {
  rig.write_certificates(etcd_pki().client("remote", std::chrono::seconds(-60)));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("the client certificate has expired"); })) << rig.problem_text();
  EXPECT_TRUE(rig.reports("renew the client certificate"));
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.problem_text(), "");
}

TEST_F(EtcdAccessTest, RotatedCertificatesAreUsedByTheNextConnection) {
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); }));
  rig.write_certificates(etcd_pki().client("remote-east"));
  server.stop();
  server.start();
  ASSERT_TRUE(rig.until([&] { return rig.state().connects == 2 && rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdAccessTest, MissingCertificatesAreReportedAndRetried) {
  rig.folder.remove("pki/client.crt");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("pki/client.crt"); }));
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, AUserWithoutTheRoleIsReportedWithTheNeededRole) {
  rig.write_certificates(etcd_pki().client("unprivileged"));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("permission denied"); })) << rig.problem_text();
  EXPECT_TRUE(rig.reports("etcd user with Cilium's role"));
  EXPECT_EQ(rig.objects.size(), 1U);  // our own profile
}

TEST_F(EtcdAccessTest, AnUnknownUserIsReported) {
  rig.write_certificates(etcd_pki().client("nobody"));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("cluster west cannot be read"); })) << rig.problem_text();
}

// The role "local", for readers of KVStoreMesh, has no grant for the layout under cilium/state/.
TEST_F(EtcdAccessTest, ADeniedPrefixIsReportedAndRetriedWithoutReconnecting) {
  rig.write_certificates(etcd_pki().client("local-east"));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed) && rig.reports("cilium/state/nodes/v1/west/"); }))
      << rig.problem_text();
  EXPECT_TRUE(rig.reports("give the etcd user's role read access"));
  EXPECT_EQ(rig.state().connects, 1U);
}

TEST_F(EtcdAccessTest, AServerCertificateOfAnotherAuthorityIsRejected) {
  const TestPki other;
  rig.folder.write("pki/ca.crt", other.ca());
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("cluster west cannot be read"); }));
  EXPECT_EQ(rig.state().objects, 0U);
}

TEST_F(EtcdAccessTest, VerificationCanBeDisabled) {
  const TestPki other;
  rig.folder.write("pki/ca.crt", other.ca());
  rig.folder.replace("configs/west", rig.config_text(server.url()) + "insecure-skip-tls-verify: true\n");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, AHostNameIsResolvedAndVerified) {
  std::string url = server.url();
  url.replace(url.find("127.0.0.1"), 9, "localhost");
  rig.folder.replace("configs/west", rig.config_text(url));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, AnInvalidCertificateFileIsReportedAndRetried) {
  rig.folder.write("pki/client.crt", "half a certi");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("pki/client.crt") && rig.reports("not a certificate in PEM"); }))
      << rig.problem_text();
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, TheSecondEndpointIsTriedIfTheFirstIsUnreachable) {
  rig.folder.replace("configs/west", "endpoints:\n- https://127.0.0.1:1\n" + rig.config_text(server.url()).substr(11));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.state().server, server.url());
}

TEST_F(EtcdAccessTest, AnInvalidConfigurationIsReported) {
  rig.folder.replace("configs/west", "endpoints: everywhere\n");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed) && rig.reports("endpoints is not a list"); }));
  rig.follow("west", server);
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); }));
}

}  // namespace
}  // namespace isthmus
