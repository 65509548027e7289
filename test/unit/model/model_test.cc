#include "control/model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

const ServiceName kCart{"shop", "cart"}, kOther{"shop", "other"};
const ObjectKey kCartKey{ObjectKind::kService, "east", "shop", "cart"};

class ModelTest : public testing::Test {
 protected:
  ModelTest() { (void)f.model.take_changes(); }
  Fleet3 f;
};

TEST_F(ModelTest, ReportsChanges) {
  f.service("east", global_service());
  f.pod("west", "cart-0", {"10.2.0.1"});
  f.cilium_endpoint("west", "cart-1", "10.2.0.2", 131072);
  f.node("north", "n1", "192.0.3.9");
  f.put(ObjectKind::kIdentity, "west", "", "131072", IdentityObject{Identity{131072}, {}});
  const ModelChanges changes = f.model.take_changes();
  EXPECT_THAT(changes.services, ElementsAre(kCart));
  EXPECT_THAT(changes.endpoints, ElementsAre(ObjectKey{ObjectKind::kPod, "west", "shop", "cart-0"},
                                             ObjectKey{ObjectKind::kPod, "west", "shop", "cart-1"}));
  EXPECT_THAT(changes.nodes, ElementsAre(ObjectKey{ObjectKind::kNode, "north", "", "n1"}));
  EXPECT_THAT(changes.identities, ElementsAre(Identity{131072}));
  EXPECT_TRUE(f.model.take_changes().empty());
}

TEST_F(ModelTest, ReportsNoChangeForEqualValues) {
  f.service("east", global_service({"10.200.0.1"}));
  f.slice("east", {{"10.1.0.1"}});
  (void)f.model.take_changes();
  f.service("east", global_service({"10.200.0.1"}));
  f.slice("east", {{"10.1.0.1"}});
  EXPECT_TRUE(f.model.take_changes().empty());
  f.slice("east", {unready("10.1.0.1")});
  EXPECT_THAT(f.model.take_changes().services, ElementsAre(kCart));
}

TEST_F(ModelTest, UpdatesTheProvenanceOfAnEqualValue) {
  f.service("east", global_service());
  f.model.apply(0, {kCartKey, global_service(), {"elsewhere.yaml", 9}});
  EXPECT_EQ(f.model.find<ServiceObject>(kCartKey).provenance.text(), "elsewhere.yaml:9");
}

TEST_F(ModelTest, KnowsTheLocationOfEveryVersionWhereverItsNameStands) {
  const auto key = [](const std::string& name) { return ObjectKey{ObjectKind::kNamespace, "east", {}, name}; };
  const auto at = [&](const std::string& name) {
    const auto found = f.model.find<NamespaceObject>(key(name));
    return found ? found.provenance.text() : std::string();
  };
  for (const char* location : {"hub: namespaces/a", "hub: namespaces/b", "a", "", "a: elsewhere"}) {
    f.model.apply(0, {key("a"), NamespaceObject{}, {location, 0}});
    f.model.apply(0, {key("b"), NamespaceObject{}, {"hub: namespaces/b", 7}});
    EXPECT_EQ(at("a"), location);
    EXPECT_EQ(at("b"), "hub: namespaces/b:7");
  }
  f.model.apply(1, {key("a"), NamespaceObject{}, {"hub: namespaces/a", 0}});
  f.model.apply(0, {key("a"), std::nullopt, {}});
  EXPECT_EQ(at("a"), "hub: namespaces/a");
  f.model.apply(1, {key("a"), std::nullopt, {}});
  EXPECT_EQ(at("a"), "");
  EXPECT_EQ(at("b"), "hub: namespaces/b:7") << "which has the same beginning";
}

TEST_F(ModelTest, ListsOnlySoManyObjectsOfSeveralHubs) {
  for (int n = 0; n < 150; ++n) {
    const ObjectKey key{ObjectKind::kNamespace, "east", {}, std::to_string(n)};
    f.model.apply(0, {key, NamespaceObject{}, {"one", 0}});
    f.model.apply(1, {key, NamespaceObject{}, {"two", 0}});
  }
  ASSERT_EQ(f.model.problems().size(), 101U);
  EXPECT_EQ(f.model.problems().back().what, "50 more objects published by several hubs");
}

TEST_F(ModelTest, MovesASliceBetweenServices) {
  f.slice("east", {{"10.1.0.1"}});
  (void)f.model.take_changes();
  SliceObject moved;
  moved.service = "other";
  f.put(ObjectKind::kSlice, "east", "shop", "cart-1", moved);
  EXPECT_THAT(f.model.take_changes().services, ElementsAre(kCart, kOther));
  EXPECT_THAT(f.model.slices_of("east", kCart), IsEmpty());
  EXPECT_EQ(f.model.slices_of("east", kOther).size(), 1U);
  EXPECT_THAT(f.model.service_names(), ElementsAre(kOther));
}

TEST_F(ModelTest, ANamespaceChangeAffectsOnlyItsServices) {
  f.service("east", global_service());
  f.service("west", global_service(), "other");
  f.put(ObjectKind::kService, "east", "shop2", "cart", global_service());
  (void)f.model.take_changes();
  f.put(ObjectKind::kNamespace, "east", "", "shop", NamespaceObject{});
  EXPECT_THAT(f.model.take_changes().services, ElementsAre(kCart));
}

TEST_F(ModelTest, KeepsAnObjectWhileAnySourceHasIt) {
  ServiceObject first = global_service({"10.200.0.1"}), second = global_service({"10.200.0.2"});
  f.model.apply(1, {kCartKey, second, {"etcd", 0}});
  f.model.apply(0, {kCartKey, first, {"file.yaml", 3}});
  EXPECT_EQ(*f.model.find<ServiceObject>(kCartKey), first) << "the lower source number takes precedence";
  ASSERT_EQ(f.model.problems().size(), 1U);
  EXPECT_EQ(
      f.model.problems()[0].text(),
      "file.yaml:3: Service shop/cart of cluster east is published by more than one hub; the version from etcd is "
      "ignored (remove it from one of the hubs)");
  f.drop(ObjectKind::kService, "east", "shop", "cart", 0);
  EXPECT_EQ(*f.model.find<ServiceObject>(kCartKey), second);
  EXPECT_THAT(f.model.problems(), IsEmpty());
  f.drop(ObjectKind::kService, "east", "shop", "cart", 0);
  EXPECT_TRUE(f.model.find<ServiceObject>(kCartKey)) << "a source cannot remove what another published";
  f.drop(ObjectKind::kService, "east", "shop", "cart", 1);
  EXPECT_FALSE(f.model.find<ServiceObject>(kCartKey));
}

TEST_F(ModelTest, CountsWhatEachClusterPublishes) {
  f.pod("west", "a", {"10.2.0.1"});
  f.pod("west", "b", {"10.2.0.2"});
  f.pod("east", "a", {"10.1.0.1"});
  f.drop(ObjectKind::kPod, "east", "shop", "a");
  f.drop(ObjectKind::kPod, "east", "shop", "never was");
  EXPECT_THAT(f.model.publishers(), ElementsAre(Pair("west", 2U)));
}

}  // namespace
}  // namespace isthmus
