// Certificates and roles: who may read, and what a person is told when we may not.
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

TEST_F(EtcdAccessTest, AnExpiredCertificateIsNamedAndItsSuccessorIsUsed) {
  rig.write_certificates(etcd_pki().client("remote", std::chrono::seconds(-60)));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.complains("the client certificate is past its time"); }))
      << rig.problem_text();
  EXPECT_TRUE(rig.complains("renew the client certificate"));
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.problem_text(), "");
}

TEST_F(EtcdAccessTest, RotatedCertificatesAreThoseOfTheNextConnection) {
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); }));
  rig.write_certificates(etcd_pki().client("remote-east"));
  server.stop();
  server.start();
  ASSERT_TRUE(rig.until([&] { return rig.state().connects == 2 && rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.removals, 0U);
}

TEST_F(EtcdAccessTest, MissingCertificatesAreWaitedFor) {
  rig.folder.remove("pki/client.crt");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.complains("pki/client.crt"); }));
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, AUserWithoutTheRoleIsToldWhichOneIsNeeded) {
  rig.write_certificates(etcd_pki().client("stranger"));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.complains("permission denied"); })) << rig.problem_text();
  EXPECT_TRUE(rig.complains("etcd user with Cilium's role"));
  EXPECT_EQ(rig.objects.size(), 1U);  // our own profile
}

TEST_F(EtcdAccessTest, AnUnknownUserIsRefused) {
  rig.write_certificates(etcd_pki().client("nobody"));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.complains("cluster west cannot be followed"); })) << rig.problem_text();
}

// The role of KVStoreMesh's readers has no grant for a cluster's own layout.
TEST_F(EtcdAccessTest, ARefusedPrefixIsShownAndTheOthersAreTriedAgainSlowly) {
  rig.write_certificates(etcd_pki().client("local-east"));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed) && rig.complains("cilium/state/nodes/v1/west/"); }))
      << rig.problem_text();
  EXPECT_TRUE(rig.complains("give the etcd user's role read access"));
  EXPECT_EQ(rig.state().connects, 1U);
}

TEST_F(EtcdAccessTest, AServerOfAnotherAuthorityIsNotBelieved) {
  const TestPki other;
  rig.folder.write("pki/ca.crt", other.ca());
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.complains("cluster west cannot be followed"); }));
  EXPECT_EQ(rig.state().objects, 0U);
}

TEST_F(EtcdAccessTest, VerificationCanBeTurnedOff) {
  const TestPki other;
  rig.folder.write("pki/ca.crt", other.ca());
  rig.folder.replace("configs/west", rig.config_text(server.url()) + "insecure-skip-tls-verify: true\n");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, AHostsNameIsResolvedAndVerified) {
  std::string url = server.url();
  url.replace(url.find("127.0.0.1"), 9, "localhost");
  rig.folder.replace("configs/west", rig.config_text(url));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, AFileThatIsNoCertificateIsNamedAndWaitedFor) {
  rig.folder.write("pki/client.crt", "half a certi");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.complains("pki/client.crt") && rig.complains("not a certificate in PEM"); }))
      << rig.problem_text();
  rig.write_certificates(etcd_pki().client("remote"));
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
}

TEST_F(EtcdAccessTest, TheSecondEndpointIsTriedWhenTheFirstIsAway) {
  rig.folder.replace("configs/west", "endpoints:\n- https://127.0.0.1:1\n" + rig.config_text(server.url()).substr(11));
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.state().place, server.url());
}

TEST_F(EtcdAccessTest, AConfigurationThatDoesNotReadIsAProblem) {
  rig.folder.replace("configs/west", "endpoints: everywhere\n");
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kFailed) && rig.complains("endpoints is not a list"); }));
  rig.follow("west", server);
  ASSERT_TRUE(rig.until([&] { return rig.is(Sync::kSynced); }));
}

}  // namespace
}  // namespace isthmus
