// kubeconfig files and the service account of a pod.
#include "control/source/kubernetes/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr auto kMinimalConfig = R"(
current-context: here
clusters: [{name: c, cluster: {server: "https://api.test:6443/base/", certificate-authority: ca.crt}}]
users: [{name: u, user: {token: secret}}]
contexts:
- {name: here, context: {cluster: c, user: u}}
- {name: there, context: {cluster: d, user: u}}
)";

Result<ApiAccess> read(const std::string& text, const std::string& context = "") {
  return read_kubeconfig({{"/etc/kube/config", text}}, context);
}
// The minimal file with another user.
Result<ApiAccess> read_user(const std::string& user) {
  std::string text = kMinimalConfig;
  return read(text.replace(text.find("{token: secret}"), 15, user));
}

TEST(Kubeconfig, ReadsServerCertificateAuthorityAndToken) {
  const auto access = read(kMinimalConfig);
  ASSERT_TRUE(access) << access.error().text();
  EXPECT_EQ(access->url.host, "api.test");
  EXPECT_EQ(access->url.port, "6443");
  EXPECT_EQ(access->url.path, "/base");
  EXPECT_EQ(access->ca.file, "/etc/kube/ca.crt");
  EXPECT_EQ(access->token, "secret");
}

TEST(Kubeconfig, ReadsEveryKindOfUser) {
  const auto certificate = read_user("{client-certificate-data: YWJj, client-key: k.pem}");
  ASSERT_TRUE(certificate) << certificate.error().text();
  EXPECT_EQ(certificate->client_certificate.data, "abc");
  EXPECT_EQ(certificate->client_key.file, "/etc/kube/k.pem");
  const auto file = read_user("{token: old, tokenFile: /run/token, as: deputy, as-groups: [a, b]}");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->token_file, "/run/token");
  EXPECT_EQ(file->headers.size(), 3U);
  const auto exec = read_user(
      "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./login, args: [get, 7], env: [{name: A, "
      "value: b}]}}");
  ASSERT_TRUE(exec);
  EXPECT_EQ(exec->exec->command, "/etc/kube/./login");
  EXPECT_EQ(exec->exec->args.at(1), "7");
  EXPECT_EQ(exec->exec->env.at(0).second, "b");
  EXPECT_EQ(read_user("{exec: {command: kubelogin}}")->exec->command, "kubelogin");
}

TEST(Kubeconfig, DataTakesPrecedenceOverAFile) {
  const auto access = read_user("{client-certificate: c.pem, client-certificate-data: YWJj, client-key-data: YWJj}");
  ASSERT_TRUE(access);
  EXPECT_EQ(access->client_certificate.data, "abc");
  EXPECT_TRUE(access->client_certificate.file.empty());
}

TEST(Kubeconfig, ErrorsSayWhatAndWhere) {
  struct Row {
    std::string text, context, why;
  };
  const std::string good = kMinimalConfig;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  for (const Row& row : std::vector<Row>{
           {"{", "", "not valid YAML"},
           {"{}", "", "no current-context"},
           {good, "nowhere", "no context named \"nowhere\""},
           {good, "there", "no cluster named \"d\""},
           {with("user: u}", "user: w}"), "", "no user named \"w\""},
           {with("https://", "http://"), "", "not an https:// address"},
           {with("certificate-authority: ca.crt", "certificate-authority-data: '*'"), "", "is not valid base64"},
           {with("certificate-authority: ca.crt", "proxy-url: \"socks5://p\""), "",
            "the proxy is \"socks5://p\", not an http:// address"},
           {with("{token: secret}", "{auth-provider: {name: gcp}}"), "", "auth-provider is not supported"},
           {with("{token: secret}", "{client-key: k}"), "", "only valid together"},
           {with("{token: secret}", "{token: \"a\\nb\"}"), "", "control characters"},
           {with("{token: secret}", "{exec: {}}"), "", "no command"},
       }) {
    const auto access = read(row.text, row.context);
    ASSERT_FALSE(access) << row.why;
    EXPECT_THAT(access.error().what, HasSubstr(row.why));
    EXPECT_THAT(access.error().where, HasSubstr("/etc/kube/config"));
    EXPECT_FALSE(access.error().fix.empty());
  }
}

TEST(Kubeconfig, TheFirstFileThatDefinesAnEntryIsUsed) {
  const TemporaryFolder folder;
  folder.write("a", "current-context: there\nclusters: [{name: d, cluster: {server: \"https://other\"}}]\n");
  folder.write("b", kMinimalConfig);
  const auto access = load_kubeconfig(folder.path("missing") + ":" + folder.path("a") + ":" + folder.path("b"), "");
  ASSERT_TRUE(access) << access.error().text();
  EXPECT_EQ(access->url.host, "other");
  EXPECT_EQ(access->url.port, "443");
  EXPECT_EQ(access->token, "secret");
  EXPECT_FALSE(load_kubeconfig(folder.path("missing"), ""));
}

TEST(Kubeconfig, NamesWhatIsIgnored) {
  std::string text = kMinimalConfig;
  const std::string token = "{token: secret}";
  text.replace(text.find(token), token.size(), "{token: secret, as-user-extra: {a: [b]}, tokne: x}");
  const auto access = read(text, "");
  ASSERT_TRUE(access) << access.error().text();
  EXPECT_THAT(access->ignored, testing::ElementsAre(HasSubstr("as-user-extra"), HasSubstr("tokne")));
}

TEST(Proxy, IsReadFromAUrl) {
  const auto full = parse_proxy_url("http://user:p%40ss@proxy.test:3128/");
  ASSERT_TRUE(full && *full);
  EXPECT_EQ((*full)->host, "proxy.test");
  EXPECT_EQ((*full)->port, "3128");
  EXPECT_EQ((*full)->authorization, "Basic dXNlcjpwQHNz");
  EXPECT_EQ((*parse_proxy_url("http://user@proxy.test"))->authorization, "Basic dXNlcjo=");
  EXPECT_EQ((*parse_proxy_url("http://proxy.test"))->port, "80");
  EXPECT_EQ((*parse_proxy_url("proxy.test:8080"))->port, "8080");
  EXPECT_EQ((*parse_proxy_url("http://[fd00::1]:443"))->port, "443");
  EXPECT_FALSE(*parse_proxy_url(""));
  for (const char* bad : {"https://p", "socks5://p:1080", "http://", "http://p:0", "http://p:x"}) {
    EXPECT_FALSE(parse_proxy_url(bad)) << bad;
  }
}

TEST(Proxy, OfTheEnvironmentIsLeftOutForWhatNoProxyNames) {
  struct Row {
    const char* host;
    const char* no_proxy;
    bool proxy;
  };
  setenv("HTTPS_PROXY", "http://proxy.test:3128", 1);
  for (const Row& row :
       {Row{"api.example.com", "", true}, Row{"api.example.com", "other.com, example.com", false},
        Row{"api.example.com", ".example.com", false}, Row{"example.com", ".example.com", true},
        Row{"api.example.com", "*.example.com", false}, Row{"api.example.com", "xample.com", true},
        Row{"api.example.com", "*", false}, Row{"api.example.com", ".Example.COM", false},
        Row{"API.example.com", "api.example.com", false}, Row{"api.example.com", "example.com:443", false},
        Row{"api.example.com", "example.com:6443", true}, Row{"10.0.0.1", "10.0.0.0/8", false},
        Row{"11.0.0.1", "10.0.0.0/8", true}, Row{"10.0.0.1", "10.0.0.1:443", false},
        Row{"fd00::1", "[fd00::1]:443", false}, Row{"127.0.0.1", "", false}, Row{"localhost", "", false},
        Row{"::1", "", false}}) {
    setenv("NO_PROXY", row.no_proxy, 1);
    const auto proxy = environment_proxy({row.host, "443", ""});
    ASSERT_TRUE(proxy);
    EXPECT_EQ(proxy->has_value(), row.proxy) << row.host << " " << row.no_proxy;
  }
  setenv("HTTPS_PROXY", "https://proxy.test", 1);
  const auto bad = environment_proxy({"api.example.com", "443", ""});
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().text(), HasSubstr("HTTPS_PROXY"));
  unsetenv("HTTPS_PROXY");
  unsetenv("NO_PROXY");
}

TEST(ServerUrlTest, ReadsAddressesAndNames) {
  const auto v6 = parse_server_url("https://[fd00::1]:6443");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "fd00::1");
  EXPECT_EQ(v6->port, "6443");
  for (const char* bad : {"", "https://", "https://a:0", "https://a:70000", "https://a:", "https://[fd00::1", "ftp://a",
                          "https://a b", "https://u@a", "https://a?x", "https://[::1]x"}) {
    EXPECT_FALSE(parse_server_url(bad)) << bad;
  }
}

TEST(ServiceAccount, IsReadFromTheEnvironmentAndItsFolder) {
  unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_FALSE(in_cluster_access());
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  const auto access = in_cluster_access("/run/sa");
  ASSERT_TRUE(access);
  EXPECT_EQ(access->server, "https://[fd00::1]:443");
  EXPECT_EQ(access->token_file, "/run/sa/token");
  EXPECT_EQ(access->ca.file, "/run/sa/ca.crt");
  unsetenv("KUBERNETES_SERVICE_HOST");
}

}  // namespace
}  // namespace isthmus
