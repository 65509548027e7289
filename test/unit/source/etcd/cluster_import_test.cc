// Turns keys of one cluster into changes of the model, without a connection.
#include "control/source/etcd/cluster_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "control/source/etcd/prefixes.h"
#include "endpoint_slice.pb.h"
#include "test/unit/source/etcd/hub_values.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Resource = EtcdResource;

class ClusterImportTest : public testing::Test {
 protected:
  ClusterImportTest() { options.own_cluster = "east"; }
  // The changes since the last call, as text.
  std::vector<std::string> changes() {
    std::vector<std::string> texts;
    for (const ObjectDelta& delta : out) {
      texts.push_back((delta.value ? "+" : "-") + std::to_string(static_cast<int>(delta.key.kind)) + " " +
                      (delta.key.ns.empty() ? "" : delta.key.ns + "/") + delta.key.name);
    }
    out.clear();
    return texts;
  }
  static std::string kind(const char* sign, ObjectKind kind, const std::string& name) {
    return sign + std::to_string(static_cast<int>(kind)) + " " + name;
  }
  void list(Resource resource, const std::vector<std::pair<std::string, std::string>>& keys) {
    import.list_begins(resource);
    for (const auto& [suffix, value] : keys) {
      import.put(resource, suffix, value);
    }
    import.list_ends(resource, now);
  }
  static std::vector<std::pair<std::string, std::string>> addresses(int from, int to) {
    std::vector<std::pair<std::string, std::string>> all;
    for (int i = from; i < to; ++i) {
      const std::string address = "10.51.7." + std::to_string(i);
      all.emplace_back(address, hub::ip(address, 331906));
    }
    return all;
  }
  std::size_t in_force() const { return import.counts().objects; }

  EtcdSourceOptions options;
  std::vector<ObjectDelta> out;
  FleetRegistry registry{{"east", "", ClusterId{1}, 255}, out};
  ClusterImport import{options, {"west", ClusterId{5}, 255}, registry, out};
  ClusterImport::Clock::time_point now = ClusterImport::Clock::now();
};

TEST_F(ClusterImportTest, ANewListEmitsOnlyDifferences) {
  list(Resource::kAddresses, addresses(1, 4));
  changes();
  auto next = addresses(2, 5);
  next[0].second = hub::ip("10.51.7.2", 327680);
  list(Resource::kAddresses, next);
  EXPECT_THAT(changes(),
              ElementsAre(kind("+", ObjectKind::kAddress, "10.51.7.2"), kind("+", ObjectKind::kAddress, "10.51.7.4"),
                          kind("-", ObjectKind::kAddress, "10.51.7.1")));
  list(Resource::kAddresses, next);
  EXPECT_THAT(changes(), IsEmpty());
}

TEST_F(ClusterImportTest, NothingIsRemovedBeforeTheListHasEnded) {
  list(Resource::kAddresses, addresses(1, 4));
  changes();
  import.list_begins(Resource::kAddresses);
  EXPECT_THAT(changes(), IsEmpty());
  // The connection is lost, and the next list is complete.
  list(Resource::kAddresses, addresses(1, 4));
  EXPECT_THAT(changes(), IsEmpty());
}

TEST_F(ClusterImportTest, ARejectedValueKeepsTheFormerOneUntilTheNextList) {
  list(Resource::kAddresses, addresses(1, 3));
  changes();
  import.put(Resource::kAddresses, "10.51.7.1", "{");
  import.put(Resource::kAddresses, "10.51.7.1", "{");
  EXPECT_THAT(changes(), IsEmpty());
  EXPECT_EQ(import.counts().rejected, 2U);
  EXPECT_THAT(import.invalid_keys(), ElementsAre("ip/10.51.7.1"));
  import.list_begins(Resource::kAddresses);
  import.put(Resource::kAddresses, "10.51.7.1", "{");
  import.put(Resource::kAddresses, "10.51.7.2", hub::ip("10.51.7.2", 331906));
  import.list_ends(Resource::kAddresses, now);
  EXPECT_THAT(changes(), ElementsAre(kind("-", ObjectKind::kAddress, "10.51.7.1")));
  EXPECT_THAT(import.invalid_keys(), ElementsAre("ip/10.51.7.1"));
  import.put(Resource::kAddresses, "10.51.7.1", hub::ip("10.51.7.1", 331906));
  EXPECT_THAT(import.invalid_keys(), IsEmpty());
  EXPECT_THAT(changes(), ElementsAre(kind("+", ObjectKind::kAddress, "10.51.7.1")));
}

TEST_F(ClusterImportTest, ARejectedKeyThatIsDeletedIsNoLongerListed) {
  import.put(Resource::kAddresses, "10.51.7.1", "{");
  import.removed(Resource::kAddresses, "10.51.7.1");
  EXPECT_THAT(import.invalid_keys(), IsEmpty());
  import.put(Resource::kAddresses, "10.51.7.1", "{");
  list(Resource::kAddresses, {});
  EXPECT_THAT(import.invalid_keys(), IsEmpty());
  EXPECT_THAT(changes(), IsEmpty());
}

TEST_F(ClusterImportTest, DeletingAnUnknownKeyHasNoEffect) {
  import.removed(Resource::kIdentities, "131077");
  import.removed(Resource::kServices, "shop/cart");
  EXPECT_THAT(changes(), IsEmpty());
}

TEST_F(ClusterImportTest, AllRejectedValuesAreCountedAndTenAreListed) {
  for (int i = 0; i < 1000; ++i) {
    import.put(Resource::kAddresses, "key-" + std::to_string(i), "{");
  }
  EXPECT_EQ(import.counts().rejected, 1000U);
  EXPECT_EQ(import.invalid_keys().size(), 10U);
  const auto problems = import.problems(EtcdLayout::kState, "https://hub:2379");
  ASSERT_EQ(problems.size(), 11U);
  EXPECT_EQ(problems.front().provenance.text(), "cilium/state/ip/v1/default/key-0 (cluster west, https://hub:2379)");
  EXPECT_EQ(problems.back().what, "1000 values are rejected in total; the first 10 are listed");
}

TEST_F(ClusterImportTest, UpToHalfIsRemovedAndMoreIsRetained) {
  list(Resource::kAddresses, addresses(0, 40));
  changes();
  list(Resource::kAddresses, addresses(20, 40));
  EXPECT_EQ(in_force(), 20U);  // exactly half
  list(Resource::kAddresses, addresses(30, 40));
  EXPECT_EQ(in_force(), 10U);
  list(Resource::kAddresses, addresses(31, 32));
  EXPECT_EQ(in_force(), 1U);  // nine: fewer than ten are always removed
  list(Resource::kAddresses, addresses(0, 40));
  list(Resource::kAddresses, addresses(0, 19));
  EXPECT_EQ(in_force(), 40U);
  EXPECT_EQ(import.counts().retained, 21U);
}

TEST_F(ClusterImportTest, RetainedObjectsAreRemovedAfterTheHoldTimeIfTheListIsFresh) {
  options.hold_time = std::chrono::minutes(10);
  list(Resource::kAddresses, addresses(0, 40));
  list(Resource::kAddresses, addresses(0, 1));
  EXPECT_EQ(import.counts().retained, 39U);
  now += std::chrono::minutes(9);
  list(Resource::kAddresses, addresses(0, 2));  // listed again with one more; the hold time is not extended
  EXPECT_EQ(import.counts().retained, 38U);
  const auto fresh = [](Resource) { return true; };
  import.release_expired(now, fresh);
  EXPECT_EQ(import.counts().retained, 38U);
  now += std::chrono::minutes(1);
  const auto not_connected = [](Resource) { return false; };
  import.release_expired(now, not_connected);
  EXPECT_EQ(in_force(), 40U);
  import.release_expired(now, fresh);
  EXPECT_EQ(import.counts().retained, 0U);
  EXPECT_EQ(in_force(), 2U);
}

// As when leases expire in an etcd that goes on serving.
TEST_F(ClusterImportTest, ManyThatLeaveAtOnceAreRetainedAsThoseThatAListLacks) {
  list(Resource::kAddresses, addresses(0, 40));
  list(Resource::kIdentities, {{"331906", hub::labels("web")}});
  changes();
  import.leaves(Resource::kIdentities, "331906", now);
  for (const auto& [address, value] : addresses(0, 30)) {
    import.leaves(Resource::kAddresses, address, now);
  }
  EXPECT_EQ(in_force(), 41U);
  import.settle_removals(now);
  EXPECT_FALSE(import.removals_wait());
  EXPECT_EQ(import.counts().retained, 31U) << "with what else the cluster lost";
  EXPECT_THAT(changes(), IsEmpty());
  import.put(Resource::kAddresses, "10.51.7.3", hub::ip("10.51.7.3", 331906));
  EXPECT_EQ(import.counts().retained, 30U);
  now += options.hold_time;
  import.release_expired(now, [](Resource) { return true;
});
EXPECT_EQ(in_force(), 11U);
EXPECT_EQ(changes().size(), 30U);
}  // namespace

TEST_F(ClusterImportTest, AFewThatLeaveAreRemovedAndOneThatIsPutAgainStays) {
  list(Resource::kAddresses, addresses(0, 40));
  changes();
  for (const int n : {1, 2, 3}) {
    import.leaves(Resource::kAddresses, "10.51.7." + std::to_string(n), now);
  }
  EXPECT_TRUE(import.removals_wait());
  EXPECT_THAT(changes(), IsEmpty());
  import.put(Resource::kAddresses, "10.51.7.2", hub::ip("10.51.7.2", 331906));
  import.settle_removals(now);
  EXPECT_THAT(changes(),
              ElementsAre(kind("-", ObjectKind::kAddress, "10.51.7.1"), kind("-", ObjectKind::kAddress, "10.51.7.3")));
  EXPECT_EQ(import.counts().retained, 0U);
}

TEST_F(ClusterImportTest, WhileMoreLeaveTheDecisionWaitsForTwoSecondsAtMost) {
  list(Resource::kAddresses, addresses(0, 40));
  for (const auto& [address, value] : addresses(0, 15)) {
    import.leaves(Resource::kAddresses, address, now);
  }
  import.settle_removals(now + std::chrono::milliseconds(200));
  EXPECT_TRUE(import.removals_wait()) << "more than one in twenty has left";
  import.settle_removals(now + std::chrono::seconds(2));
  EXPECT_FALSE(import.removals_wait());
  EXPECT_EQ(in_force(), 25U);
}

TEST_F(ClusterImportTest, AListDecidesOfThoseThatHaveLeftBefore) {
  list(Resource::kAddresses, addresses(0, 40));
  import.leaves(Resource::kAddresses, "10.51.7.1", now);
  list(Resource::kAddresses, addresses(0, 39));
  import.settle_removals(now);
  EXPECT_EQ(in_force(), 39U);
}

TEST_F(ClusterImportTest, TheNodesOfAClusterDoNotAllGoAtOnce) {
  const auto node = [](const std::string& name, const std::string& n) {
    return std::pair(name, hub::node(name, "192.0.2." + n, "10.51." + n + ".0/24"));
  };
  list(Resource::kNodes, {node("a", "1"), node("b", "2")});
  ASSERT_EQ(in_force(), 2U);
  import.leaves(Resource::kNodes, "a", now);
  import.settle_removals(now);
  EXPECT_EQ(in_force(), 1U);
  import.leaves(Resource::kNodes, "b", now);
  import.settle_removals(now);
  EXPECT_EQ(import.counts().retained, 1U);
  list(Resource::kNodes, {});
  EXPECT_EQ(in_force(), 1U);
}

TEST_F(ClusterImportTest, RetentionCanBeDisabled) {
  for (const unsigned off : {0U, 100U}) {
    options.hold_percent = off;
    list(Resource::kAddresses, addresses(0, 40));
    list(Resource::kAddresses, {});
    EXPECT_EQ(in_force(), 0U) << off;
  }
}

TEST_F(ClusterImportTest, PurgingRemovesEverythingInOrder) {
  list(Resource::kNodes, {{"w-7", hub::node("w-7", "192.0.2.17", "10.51.7.0/24")}});
  list(Resource::kAddresses, addresses(1, 2));
  list(Resource::kServices,
       {{"shop/cart", hub::service("shop/cart", R"({"10.51.7.1":{"":{"Protocol":"TCP","Port":80}}})")},
        {"kube-system/isthmus-gateway",
         hub::service("kube-system/isthmus-gateway", R"({"192.0.2.21":{"vxlan":{"Protocol":"UDP","Port":8472}}})")}});
  EXPECT_EQ(in_force(), 4U);
  changes();
  import.purge_all();
  const auto texts = changes();
  EXPECT_EQ(in_force(), 0U);
  ASSERT_FALSE(texts.empty());
  EXPECT_EQ(texts.front(), kind("-", ObjectKind::kGateway, "west-192-0-2-21"));
  EXPECT_EQ(texts[1], kind("+", ObjectKind::kProfile, "clustermesh"));
  EXPECT_EQ(texts.back(), kind("-", ObjectKind::kCluster, "west"));
}

std::string slice_value(const std::string& name, const std::string& service, const std::string& address) {
  clustermesh::ClusterEndpointSlice slice;
  slice.set_cluster("west");
  slice.set_clusterid(5);
  slice.set_namespace_("shop");
  slice.set_name(name);
  (*slice.mutable_labels())["kubernetes.io/service-name"] = service;
  slice.set_addresstype("IPv4");
  slice.add_endpoints()->add_addresses(address);
  const std::string bytes = slice.SerializeAsString();
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

TEST_F(ClusterImportTest, SlicesReplaceBackendsOnceTheyAreUsed) {
  const std::string cart = hub::service("shop/cart", R"({"10.51.7.1":{"":{"Protocol":"TCP","Port":80}}})");
  list(Resource::kServices, {{"shop/cart", cart}});
  list(Resource::kSlices, {{"shop/cart", slice_value("cart", "cart", "10.51.7.2")},
                           {"shop/pay-1", slice_value("pay-1", "pay", "10.51.7.3")}});
  changes();
  import.use_slices(true);
  EXPECT_THAT(changes(),
              ElementsAre(kind("-", ObjectKind::kSlice, "shop/cart"), kind("+", ObjectKind::kSlice, "shop/cart"),
                          kind("+", ObjectKind::kSlice, "shop/pay-1"), kind("+", ObjectKind::kService, "shop/cart"),
                          kind("+", ObjectKind::kService, "shop/pay")));
  import.removed(Resource::kSlices, "shop/pay-1");
  EXPECT_THAT(changes(),
              ElementsAre(kind("-", ObjectKind::kSlice, "shop/pay-1"), kind("-", ObjectKind::kService, "shop/pay")));
  import.use_slices(false);
  const auto texts = changes();
  EXPECT_EQ(texts.back(), kind("+", ObjectKind::kSlice, "shop/cart"));
}

TEST_F(ClusterImportTest, AServiceTakesPrecedenceOverAnExportOfItsName) {
  const std::string exported =
      R"({"cluster":"west","name":"cart","namespace":"shop","exportCreationTimestamp":"2026-03-02T10:00:00Z"})";
  list(Resource::kExports, {{"shop/cart", exported}});
  EXPECT_EQ(std::get<ServiceObject>(*out.back().value).created, 1772445600);
  list(Resource::kServices, {{"shop/cart", hub::service("shop/cart", "{}")}});
  EXPECT_EQ(std::get<ServiceObject>(*out.back().value).created, 0);
  import.removed(Resource::kServices, "shop/cart");
  EXPECT_EQ(std::get<ServiceObject>(*out.back().value).created, 1772445600);
  changes();
  import.removed(Resource::kExports, "shop/cart");
  EXPECT_THAT(changes(), ElementsAre(kind("-", ObjectKind::kService, "shop/cart")));
}

TEST_F(ClusterImportTest, AnInvalidVipLabelIsAProblemWhileItExists) {
  const auto label = [](const std::string& text) { return R"(,"labels":{"isthmus.io/vip":")" + text + "\"}"; };
  const auto problems = [&] { return import.problems(EtcdLayout::kState, "https://hub:2379"); };
  list(Resource::kServices, {{"shop/cart", hub::service("shop/cart", "{}", label("here"))},
                             {"shop/pay", hub::service("shop/pay", "{}", label("192.0.2.1"))}});
  ASSERT_EQ(problems().size(), 1U);
  EXPECT_EQ(problems().front().provenance.text(), "cluster west: services/shop/cart");
  import.put(Resource::kServices, "shop/cart", hub::service("shop/cart", "{}", label("192.0.2.2")));
  EXPECT_EQ(problems().size(), 0U);
  import.put(Resource::kServices, "shop/cart", hub::service("shop/cart", "{}", label("there")));
  EXPECT_EQ(problems().size(), 1U);
  import.removed(Resource::kServices, "shop/cart");
  EXPECT_EQ(problems().size(), 0U);
}

TEST(MergePrefixesTest, ContainedPrefixesAreDroppedAndHalvesMerged) {
  const auto prefixes = [](const std::vector<const char*>& texts) {
    std::vector<Prefix> all;
    for (const char* text : texts) {
      all.push_back(*Prefix::parse(text));
    }
    return all;
  };
  EXPECT_EQ(merge_prefixes(prefixes({"10.1.1.0/24", "10.1.0.0/24", "10.1.2.0/24", "10.1.3.0/24", "10.1.1.128/25"})),
            prefixes({"10.1.0.0/22"}));
  EXPECT_EQ(merge_prefixes(prefixes({"10.1.1.0/24", "10.1.2.0/24"})), prefixes({"10.1.1.0/24", "10.1.2.0/24"}));
  EXPECT_EQ(merge_prefixes(prefixes({"fd00::/65", "fd00:0:0:0:8000::/65", "10.0.0.0/8"})),
            prefixes({"10.0.0.0/8", "fd00::/64"}));
  EXPECT_EQ(merge_prefixes(prefixes({"0.0.0.0/1", "128.0.0.0/1"})), prefixes({"0.0.0.0/0"}));
}

}  // namespace isthmus
}  // namespace isthmus
