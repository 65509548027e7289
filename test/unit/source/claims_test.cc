#include "control/source/file/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "control/source/manifest/manifest.h"
#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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
    ClaimRequest request{hub_.path(), cluster, "shop", name, {}, patience_};
    for (const char* pool : pools) {
      request.pools.push_back(*Prefix::parse(pool));
    }
    return allocate_vip(request);
  }
  // "10.200.0.1 ..." or "error: ...".
  std::string claimed(const std::string& name, std::vector<const char*> pools, const std::string& cluster = "east") {
    const auto result = claim(name, std::move(pools), cluster);
    if (!result) {
      EXPECT_FALSE(result.error().remedy.empty());
      return "error: " + result.error().text();
    }
    std::string out;
    for (const IpAddress& address : result->addresses) {
      out += (out.empty() ? "" : " ") + address.to_string();
    }
    return out;
  }
  TemporaryFolder hub_;
  std::chrono::milliseconds patience_{30'000};
};

TEST_F(Claims, TheLowestFreeAddressOfEachFamilyIsWrittenAsAServiceImport) {
  const auto made = claim("cart", {"10.200.0.0/24", "fd00:ff::/112"});
  ASSERT_TRUE(made.ok()) << made.error().text();
  EXPECT_THAT(made->addresses, ElementsAre(*IpAddress::parse("10.200.0.1"), *IpAddress::parse("fd00:ff::1")));
  EXPECT_TRUE(made->created);
  EXPECT_TRUE(made->service_known);
  EXPECT_EQ(made->file, hub_.path("clusters/east/serviceimport-shop-cart.yaml"));
  const Manifest manifest = parse_manifest(hub_.read("clusters/east/serviceimport-shop-cart.yaml"), "east");
  ASSERT_EQ(manifest.documents.size(), 1u);
  EXPECT_TRUE(manifest.documents[0].document->faults.empty());
  ASSERT_EQ(manifest.documents[0].document->objects.size(), 1u);
  const ManifestObject& object = manifest.documents[0].document->objects[0];
  EXPECT_EQ(object.key.object, (ObjectKey{ObjectKind::kServiceImport, "east", "shop", "cart"}));
  const auto& import = std::get<ServiceImportObject>(*object.value);
  EXPECT_EQ(import.ips, made->addresses);
  EXPECT_GT(import.created, 1'700'000'000);
  EXPECT_THAT(import.ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{80}},
                                        ServicePort{"quic", IpProtocol::kUdp, L4Port{443}}));
}

TEST_F(Claims, AStandingClaimIsReturnedAlsoFromAnotherCluster) {
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
  const auto again = claim("cart", {"10.200.0.0/24"});
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->file, hub_.path("clusters/east/serviceimport-shop-cart.yaml"));
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}, "west"), "10.200.0.1");
  EXPECT_EQ(hub_.read("clusters/west/serviceimport-shop-cart.yaml"), "");
}

TEST_F(Claims, EveryAddressTakenInTheHubIsPassedOver) {
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

TEST_F(Claims, AClaimThatIsNotOfThePoolsIsAnError) {
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
  EXPECT_THAT(claimed("cart", {"10.201.0.0/24"}), HasSubstr("shop/cart already claims 10.200.0.1"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24", "fd00:ff::/112"}), HasSubstr("already claims 10.200.0.1"));
}

TEST_F(Claims, TwoClaimsOfOneServiceAreAnErrorThatNamesBoth) {
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

TEST_F(Claims, APoolThatAClusterUsesIsRefused) {
  EXPECT_THAT(claimed("cart", {"10.1.128.0/24"}), HasSubstr("overlaps 10.1.0.0/16 of cluster east"));
  EXPECT_THAT(claimed("cart", {"192.0.0.0/16"}), HasSubstr("overlaps 192.0.2.0/24 of cluster east"));
}

TEST_F(Claims, NothingIsClaimedWhileAManifestMayHideAClaim) {
  hub_.write("clusters/west/a.yaml", "kind: [broken\n");
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}),
              testing::AllOf(HasSubstr("clusters/west/a.yaml:1"), HasSubstr("a claim may hide there")));
  hub_.write("clusters/west/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIP: nowhere}\n");
  EXPECT_EQ(claimed("cart", {"10.200.0.0/24"}), "10.200.0.1");
}

TEST_F(Claims, RequestsThatCannotBeMeantAreRefused) {
  EXPECT_THAT(claimed("Cart", {"10.200.0.0/24"}), HasSubstr("names no Service"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}, "south"), HasSubstr("the hub has no cluster south"));
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}, "../east"), HasSubstr("is not a cluster's name"));
  EXPECT_THAT(claimed("cart", {}), HasSubstr("no pool"));
  EXPECT_FALSE(
      allocate_vip({hub_.path("nowhere"), "east", "shop", "cart", {*Prefix::parse("10.200.0.0/24")}, patience_}).ok());
}

TEST_F(Claims, NamesThatRunTogetherGetFilesOfTheirOwn) {
  const auto pool = *Prefix::parse("10.200.0.0/24");
  const auto first = allocate_vip({hub_.path(), "east", "a-b", "c", {pool}, patience_});
  const auto second = allocate_vip({hub_.path(), "east", "a", "b-c", {pool}, patience_});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->file, second->file);
  EXPECT_NE(first->addresses, second->addresses);
}

TEST_F(Claims, AllocatorsAtOnceNeverTakeOneAddress) {
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

TEST_F(Claims, ALockThatIsLeftBehindIsNamed) {
  patience_ = std::chrono::milliseconds(50);
  hub_.write(".allocate.lock", "process 12345\n");
  EXPECT_THAT(claimed("cart", {"10.200.0.0/24"}),
              testing::AllOf(HasSubstr("the hub is locked by process 12345"), HasSubstr("remove the file")));
}

}  // namespace
}  // namespace isthmus
