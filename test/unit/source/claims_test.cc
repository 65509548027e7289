#include "control/source/file/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "control/source/manifest/manifest.h"
#include "test/unit/source/temporary_folder.h"

namespace {

std::mutex synced_mutex;
std::vector<std::string> synced;  // paths of what fsync() was called for

}  // namespace

// In place of the C library's: whether a claim would outlive a crash cannot be seen otherwise.
extern "C" int fsync(int fd) {
  const std::lock_guard lock(synced_mutex);
  synced.push_back(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)).string());
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Until destroyed, no file of this process grows beyond `bytes`, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    (void)std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

class Claims : public testing::Test {
 protected:
  void SetUp() override {
    hub_.write("fleet/clusters.yaml", R"(apiVersion: isthmus.io/v1alpha1
kind: Cluster
metadata: {name: east}
spec: {id: 1, podCIDRs: [10.1.0.0/16, "fd00:1::/48"], nodeCIDRs: [192.0.2.0/24]}
)");
    hub_.write("clusters/east/cart.yaml", R"(apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: quic, port: 443, protocol: UDP}]}
)");
    hub_.make("clusters/west");
  }
  Result<Claim> claim(const std::string& name, std::vector<const char*> pools, const std::string& cluster = "east") {
    ClaimRequest request{{cluster, "shop", name, {}}, hub_.path(), lock_timeout_};
    for (const char* pool : pools) {
      request.pools.push_back(*Prefix::parse(pool));
    }
    return allocate_vip(request);
  }
  // "10.200.0.1 ..." or "error: ...".
  std::string claimed(const std::string& name, std::vector<const char*> pools, const std::string& cluster = "east") {
    const auto result = claim(name, std::move(pools), cluster);
    if (!result) {
      EXPECT_FALSE(result.error().fix.empty());
      return "error: " + result.error().text();
    }
    std::string out;
    for (const IpAddress& address : result->addresses) {
      out += (out.empty() ? "" : " ") + address.to_string();
    }
    return out;
  }
  TemporaryFolder hub_;
  std::chrono::milliseconds lock_timeout_{30'000};
};

TEST_F(Claims, TheLowestFreeAddressOfEachFamilyIsWrittenAsAServiceImport) {
  const auto allocated = claim("cart", {"10.200.0.0/24", "fd00:ff::/112"});
  ASSERT_TRUE(allocated.ok()) << allocated.error().text();
  EXPECT_THAT(allocated->addresses, ElementsAre(*IpAddress::parse("10.200.0.1"), *IpAddress::parse("fd00:ff::1")));
  EXPECT_TRUE(allocated->created);
  EXPECT_TRUE(allocated->service_known);
  EXPECT_EQ(allocated->file, hub_.path("clusters/east/serviceimport-shop-cart.yaml"));
  const Manifest manifest = parse_manifest(hub_.read("clusters/east/serviceimport-shop-cart.yaml"), "east");
  ASSERT_EQ(manifest.documents.size(), 1u);
  EXPECT_TRUE(manifest.documents[0].document->errors.empty());
  ASSERT_EQ(manifest.documents[0].document->objects.size(), 1u);
  const ManifestObject& object = manifest.documents[0].document->objects[0];
  EXPECT_EQ(object.key.object, (ObjectKey{ObjectKind::kServiceImport, "east", "shop", "cart"}));
  const auto& import = std::get<ServiceImportObject>(*object.value);
  EXPECT_EQ(import.ips, allocated->addresses);
  EXPECT_GT(import.created, 1'700'000'000);
  EXPECT_THAT(import.ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{80}},
                                        ServicePort{"quic", IpProtocol::kUdp, L4Port{443}}));
}

TEST_F(Claims, ANewClaimItsNameAndItsFolderAreOnTheDiskWhenItIsReturned) {
  synced.clear();
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
  EXPECT_THAT(synced, ElementsAre(HasSubstr(".serviceimport-shop-cart.yaml.tmp"), hub_.path("clusters/east")));
  hub_.write("fleet/more.yaml",
             "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: south}\n"
             "spec: {id: 3, podCIDRs: [10.3.0.0/16]}\n");
  synced.clear();
  EXPECT_EQ(claimed("other", {"10.200.0.0/24"}, "south"), "10.200.0.2");
  EXPECT_THAT(synced, ElementsAre(HasSubstr(".serviceimport-shop-other.yaml.tmp"), hub_.path("clusters"),
                                  hub_.path("clusters/south")));
}

TEST_F(Claims, AFullDiskIsAnErrorAndLeavesNothingBehind) {
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{20}}) {  // room for nothing; for the lock
    std::string result;
    {
      const FileSizeLimit limit(bytes);
      result = claimed("cart", {"10.200.0.0/24"});
    }
    EXPECT_THAT(result, HasSubstr(bytes == 0 ? "cannot lock the hub" : "cannot write the claim"));
    EXPECT_THAT(result, HasSubstr("free disk space"));
    EXPECT_FALSE(std::filesystem::exists(hub_.path(".allocate.lock")));
    EXPECT_FALSE(std::filesystem::exists(hub_.path("clusters/east/.serviceimport-shop-cart.yaml.tmp")));
  }
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
}

TEST_F(Claims, AManifestThatCannotBeReadIsNamedWithTheCauseAndTheFix) {
  std::filesystem::create_symlink("nowhere.yaml", hub_.path("clusters/west/link.yaml"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}),
              testing::AllOf(HasSubstr("west/link.yaml"), HasSubstr("the target of the link does not exist"),
                             HasSubstr("link to a file that exists, or delete it")));
}

TEST_F(Claims, AnExistingClaimIsReturnedEvenForAnotherCluster) {
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
  const auto again = claim("cart", {"10.200.0.0/24"});
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->file, hub_.path("clusters/east/serviceimport-shop-cart.yaml"));
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}, "west"), "10.200.0.1");
  EXPECT_EQ(hub_.read("clusters/west/serviceimport-shop-cart.yaml"), "");
}

TEST_F(Claims, AddressesInUseInTheHubAreSkipped) {
  hub_.write("clusters/west/a.yaml", R"(apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: other, namespace: shop}
spec: {ips: [10.200.0.1], ports: []}
---
apiVersion: v1
kind: Service
metadata: {name: more, namespace: shop, annotations: {isthmus.io/vip: "10.200.0.2"}}
)");
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.3");
}

TEST_F(Claims, AnAnnotationIsAClaimToo) {
  hub_.write("clusters/west/a.yaml", R"(apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, annotations: {isthmus.io/vip: "10.200.0.77"}}
)");
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.77");
}

TEST_F(Claims, AnExistingClaimOutsideThePoolsIsAnError) {
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
  EXPECT_THAT(claimed("cart", {"10.201.0.0/24"}), HasSubstr("shop/cart already claims 10.200.0.1"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24", "fd00:ff::/112"}), HasSubstr("already claims 10.200.0.1"));
}

TEST_F(Claims, TwoClaimsOfOneServiceAreAnErrorNamingBoth) {
  hub_.write("clusters/west/a.yaml", R"(apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, annotations: {isthmus.io/vip: "10.200.0.77"}}
)");
  hub_.write("clusters/east/a.yaml", R"(apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: cart, namespace: shop}
spec: {ips: [10.200.0.1], ports: []}
)");
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}),
              testing::AllOf(HasSubstr("two claims"), HasSubstr("10.200.0.77"), HasSubstr("east/a.yaml:1")));
}

TEST_F(Claims, AnExhaustedPoolIsAnError) {
  EXPECT_EQ(claimed("a", {"10.200.0.0/30"}), "10.200.0.1");
  EXPECT_EQ(claimed("b", {"10.200.0.0/30"}), "10.200.0.2");
  EXPECT_THAT(claimed("c", {"10.200.0.0/30"}), HasSubstr("no free IPv4 address is left"));
  EXPECT_EQ(claimed("c", {"10.200.0.0/30", "10.200.1.0/31"}), "10.200.1.0");
  EXPECT_EQ(claimed("d", {"10.200.2.5/32"}), "10.200.2.5");
  EXPECT_EQ(claimed("e", {"fd00:ff::/127"}), "fd00:ff::");
}

TEST_F(Claims, APoolThatOverlapsAClusterIsRejected) {
  EXPECT_THAT(claimed("cart", {"10.1.128.0/24"}), HasSubstr("overlaps 10.1.0.0/16 of cluster east"));
  EXPECT_THAT(claimed("cart", {"192.0.0.0/16"}), HasSubstr("overlaps 192.0.2.0/24 of cluster east"));
}

TEST_F(Claims, APoolThatOverlapsAliasesOrANodesPodsIsRejected) {
  hub_.write("fleet/alias-west.yaml", R"(apiVersion: isthmus.io/v1alpha1
kind: CrossClusterNetworkProfile
metadata: {name: alias-west}
spec:
  clusters: [west]
  members: [{cluster: west, podCIDRs: [10.7.0.0/16], aliasCIDRs: [100.64.0.0/16]}]
)");
  hub_.write("clusters/west/node.yaml", R"(apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.8.1.0/24]}
status: {addresses: [{type: InternalIP, address: 10.200.0.1}]}
)");
  for (const char* pool : {"100.64.3.0/24", "100.64.0.0/10"}) {
    EXPECT_THAT(claimed("cart", {pool}), HasSubstr("overlaps 100.64.0.0/16, aliases of pods of cluster west")) << pool;
  }
  EXPECT_THAT(claimed("cart", {"10.7.0.0/24"}), HasSubstr("overlaps 10.7.0.0/16 of cluster west"));
  EXPECT_THAT(claimed("cart", {"10.8.0.0/16"}), HasSubstr("overlaps 10.8.1.0/24 of node n1"));
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.2") << "the first one is a node's";
}

TEST_F(Claims, NothingIsAllocatedWhileAManifestMayContainAnUnreadableClaim) {
  hub_.write("clusters/west/a.yaml", "kind: [broken\n");
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}),
              testing::AllOf(HasSubstr("clusters/west/a.yaml:1"), HasSubstr("it may contain a claim")));
  for (const char* text :
       {"apiVersion: v1\nkind: Service\n"
        "metadata: {name: other, namespace: shop, annotations: {isthmus.io/vip: \"10.200.0.1,oops\"}}\n",
        "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\n"
        "metadata: {name: other, namespace: shop}\nspec: {ips: [10.200.0.1, oops], ports: []}\n"}) {
    hub_.write("clusters/west/a.yaml", text);
    EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}), HasSubstr("it may contain a claim"));
  }
  hub_.write("fleet/a.yaml",
             "apiVersion: isthmus.io/v1alpha1\nkind: Gateway\nmetadata: {name: gw}\n"
             "spec: {cluster: east, underlayAddress: 10.200.0.1, prt: 1}\n");
  hub_.write("clusters/west/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n");
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}), HasSubstr("fleet/a.yaml:4"));
  hub_.write("fleet/a.yaml",
             "apiVersion: isthmus.io/v1alpha1\nkind: Gateway\nmetadata: {name: gw}\n"
             "spec: {cluster: east, underlayAddress: 192.0.2.9}\n");
  hub_.write("clusters/west/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIP: nowhere}\n");
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
}

TEST_F(Claims, InvalidRequestsAreRejected) {
  EXPECT_THAT(claimed("Cart", {"10.200.0.0/24"}), HasSubstr("is not the name of a Service"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}, "south"), HasSubstr("the hub has no cluster south"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}, "../east"), HasSubstr("is not the name of a cluster"));
  EXPECT_THAT(claimed("cart", {}), HasSubstr("no address pool"));
  EXPECT_FALSE(
      allocate_vip({{"east", "shop", "cart", {*Prefix::parse("10.200.0.0/24")}}, hub_.path("nowhere"), lock_timeout_})
          .ok());
}

TEST_F(Claims, AmbiguousNamesGetSeparateFiles) {
  const auto pool = *Prefix::parse("10.200.0.0/24");
  const auto first = allocate_vip({{"east", "a-b", "c", {pool}}, hub_.path(), lock_timeout_});
  const auto second = allocate_vip({{"east", "a", "b-c", {pool}}, hub_.path(), lock_timeout_});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->file, second->file);
  EXPECT_NE(first->addresses, second->addresses);
}

TEST_F(Claims, ConcurrentAllocationsNeverShareAnAddress) {
  constexpr int kAllocators = 8;
  std::vector<std::string> taken(kAllocators);
  std::vector<std::thread> threads;
  for (int i = 0; i < kAllocators; ++i) {
    threads.emplace_back(
        [&, i] { taken[static_cast<std::size_t>(i)] = claimed("s" + std::to_string(i), {"10.200.0.0/24"}); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(std::set<std::string>(taken.begin(), taken.end()).size(), static_cast<std::size_t>(kAllocators))
      << testing::PrintToString(taken);
  EXPECT_EQ(std::count_if(taken.begin(), taken.end(), [](const std::string& t) { return t.starts_with("10.200.0."); }),
            kAllocators)
      << testing::PrintToString(taken);
}

TEST_F(Claims, AStaleLockFileIsReportedWithItsOwner) {
  lock_timeout_ = std::chrono::milliseconds(50);
  hub_.write(".allocate.lock", "process 12345\n");
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}),
              testing::AllOf(HasSubstr("the hub is locked by process 12345"), HasSubstr("remove the file")));
}

}  // namespace
}  // namespace isthmus
