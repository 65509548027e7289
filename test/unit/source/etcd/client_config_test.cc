// etcd's client configuration files, as written by Cilium's chart and by hand.
#include "control/source/etcd/client_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/test_pki.h"
#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(EtcdClientConfigTest, TheFileOfTheChartIsParsed) {
  const auto config = parse_etcd_client_config(
      "endpoints:\n- https://west.mesh.cilium.io:2379\n- https://192.0.2.1:32379\n"
      "trusted-ca-file: /pki/ca.crt\ncert-file: /pki/tls.crt\nkey-file: /pki/tls.key\nca-file: /old\n",
      "west");
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_THAT(config->endpoints, ElementsAre("https://west.mesh.cilium.io:2379", "https://192.0.2.1:32379"));
  EXPECT_EQ(config->trusted_ca_file, "/pki/ca.crt");
  EXPECT_EQ(config->cert_file, "/pki/tls.crt");
  EXPECT_EQ(config->key_file, "/pki/tls.key");
  EXPECT_FALSE(config->insecure_transport || config->insecure_skip_tls_verify);
}

TEST(EtcdClientConfigTest, InvalidConfigurationsAreRejected) {
  const std::pair<const char*, const char*> rows[] = {
      {"endpoints: here", "not a list"},
      {"endpoints: []", "not a list"},
      {"endpoints:\n- [a]", "is not a URL"},
      {"endpoints:\n- ftp://a:1", "is not a URL"},
      {"endpoints:\n- https://", "is not a URL"},
      {"endpoints:\n- 'a b'", "is not a URL"},
      {"endpoints:\n\t- x", ""},
  };
  for (const auto& [text, why] : rows) {
    const auto config = parse_etcd_client_config(text, "west");
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_THAT(config.error().what, HasSubstr(why));
    EXPECT_THAT(config.error().where, HasSubstr("west"));
    EXPECT_FALSE(config.error().fix.empty());
  }
}

TEST(EtcdClientConfigTest, CertificatesAreReadAndValidated) {
  const TestPki pki;
  const TestCertificate good = pki.client("remote"), old = pki.client("remote", std::chrono::seconds(-60));
  const TemporaryFolder folder;
  folder.write("ca", pki.ca());
  folder.write("cert", good.certificate);
  EtcdClientConfig config;
  config.trusted_ca_file = folder.path("ca");
  config.cert_file = folder.path("cert");
  config.key_file = folder.path("key");
  auto read = read_certificates(config);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().where, folder.path("key"));
  folder.write("key", good.key);
  read = read_certificates(config);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->certificate, good.certificate);
  EXPECT_EQ(certificate_error(good.certificate), "");
  EXPECT_EQ(certificate_error(old.certificate), "has expired");
  EXPECT_EQ(certificate_error("nonsense"), "is not a certificate in PEM");
  folder.write("cert", "");
  EXPECT_FALSE(read_certificates(config).ok());
}

}  // namespace
}  // namespace isthmus
