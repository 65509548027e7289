// The meaning of a cluster's own objects beyond manifests: exports, namespaces, the two kinds of nodes, errors.
#include "control/source/kubernetes/cluster_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/yaml/json.h"

namespace isthmus {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ClusterObjectsTest : public testing::Test {
 protected:
  void create(bool default_global, bool imported_slices = true) {
    hub.emplace(ClusterObjectsOptions{"east", "https://api", default_global, imported_slices});
  }
  std::size_t resource(const std::string& plural) const {
    for (std::size_t i = 0; i < hub->resources().size(); ++i) {
      if (hub->resources()[i].shown_name() == plural) {
        return i;
      }
    }
    ADD_FAILURE() << plural;
    return 0;
  }
  void put(const std::string& plural, const json& object) {
    const std::size_t at = resource(plural);
    hub->put(at, hub->resources()[at].versions.front(), std::get<YamlNode>(parse_json(object.dump())));
    apply_deltas();
  }
  void remove(const std::string& plural, const json& object) {
    hub->removed(resource(plural), std::get<YamlNode>(parse_json(object.dump())));
    apply_deltas();
  }
  void list(const std::string& plural, const std::vector<json>& all) {
    hub->list_begins(resource(plural));
    for (const json& object : all) {
      put(plural, object);
    }
    hub->list_ends(resource(plural));
    apply_deltas();
  }
  void apply_deltas() {
    for (ObjectDelta& delta : hub->take_deltas({})) {
      if (delta.value) {
        objects.insert_or_assign(delta.key, *std::move(delta.value));
      } else {
        objects.erase(delta.key);
      }
    }
  }
  bool global(const std::string& ns, const std::string& name) const {
    return std::get<ServiceObject>(objects.at({ObjectKind::kService, "east", ns, name})).global;
  }
  std::vector<std::string> problems() const {
    std::vector<std::string> out;
    for (const SourceProblem& problem : hub->problems({})) {
      out.push_back(problem.what);
    }
    return out;
  }

  std::optional<ClusterObjects> hub;
  std::map<ObjectKey, ObjectValue> objects;
};

json named(const std::string& ns, const std::string& name) {
  return {{"metadata", {{"namespace", ns}, {"name", name}}}};
}
json service(const std::string& name, bool global) {
  json object = named("shop", name);
  object["spec"]["ports"] = {{{"port", 80}}};
  if (global) {
    object["metadata"]["annotations"]["service.cilium.io/global"] = "true";
  }
  return object;
}

TEST_F(ClusterObjectsTest, AServiceExportMakesItsServiceGlobal) {
  create(true);
  put("serviceexports", named("shop", "cart"));
  put("services", service("cart", false));
  EXPECT_TRUE(global("shop", "cart"));
  json deleting = named("shop", "cart");
  deleting["metadata"]["deletionTimestamp"] = "2026-03-02T10:00:00Z";
  put("serviceexports", deleting);
  EXPECT_FALSE(global("shop", "cart"));
  put("serviceexports", named("shop", "cart"));
  EXPECT_TRUE(global("shop", "cart"));
  list("serviceexports", {});
  EXPECT_FALSE(global("shop", "cart"));
  EXPECT_EQ(hub->counts(resource("serviceexports")).objects, 0U);
}

TEST_F(ClusterObjectsTest, AServiceExportOfAFleetCountsOnceItIsAccepted) {
  constexpr auto kFleet = "serviceexports.networking.fleet.azure.com";
  const auto exported = [](const char* valid, const char* conflict) {
    json object = named("shop", "cart");
    object["status"]["conditions"] = {{{"type", "Valid"}, {"status", valid}},
                                      {{"type", "Conflict"}, {"status", conflict}}};
    return object;
  };
  create(true);
  put("services", service("cart", false));
  for (const auto& [valid, conflict] :
       std::vector<std::pair<const char*, const char*>>{{"True", "Unknown"}, {"True", "True"}, {"False", "False"}}) {
    put(kFleet, exported(valid, conflict));
    EXPECT_FALSE(global("shop", "cart")) << valid << " " << conflict;
  }
  put(kFleet, exported("True", "False"));
  EXPECT_TRUE(global("shop", "cart"));
  put("serviceexports", named("shop", "cart"));
  json drained = exported("True", "False");
  drained["metadata"]["annotations"]["networking.fleet.azure.com/weight"] = "0";
  put(kFleet, drained);
  EXPECT_TRUE(global("shop", "cart"));  // through the other export
  remove("serviceexports", named("shop", "cart"));
  EXPECT_FALSE(global("shop", "cart"));
}

TEST_F(ClusterObjectsTest, WithoutDefaultGlobalNamespacesANamespaceMustOptIn) {
  create(false);
  put("services", service("cart", true));
  EXPECT_FALSE(global("shop", "cart"));  // its Namespace is not known
  put("namespaces", {{"metadata", {{"name", "shop"}}}});
  EXPECT_TRUE(global("shop", "cart"));  // as written: the Namespace decides
  const auto annotations = [this] {
    return std::get<NamespaceObject>(objects.at({ObjectKind::kNamespace, "east", "", "shop"})).annotations;
  };
  EXPECT_EQ(annotations().at("clustermesh.cilium.io/global"), "false");
  put("namespaces", {{"metadata", {{"name", "shop"}, {"annotations", {{"clustermesh.cilium.io/global", "true"}}}}}});
  EXPECT_EQ(annotations().at("clustermesh.cilium.io/global"), "true");
  remove("namespaces", {{"metadata", {{"name", "shop"}}}});
  EXPECT_FALSE(global("shop", "cart"));
}

TEST_F(ClusterObjectsTest, NodeAndCiliumNodeAreOneObject) {
  create(true);
  put("nodes", {{"metadata", {{"name", "n1"}}},
                {"spec", {{"podCIDR", "10.1.0.0/24"}}},
                {"status", {{"addresses", {{{"type", "InternalIP"}, {"address", "192.0.2.1"}}}}}}});
  put("ciliumnodes", {{"metadata", {{"name", "n1"}}}, {"spec", {{"ipam", {{"podCIDRs", {"10.1.7.0/24"}}}}}}});
  const ObjectKey key{ObjectKind::kNode, "east", "", "n1"};
  EXPECT_EQ(std::get<NodeObject>(objects.at(key)).pod_prefixes.size(), 2U);
  list("nodes", {});
  EXPECT_EQ(std::get<NodeObject>(objects.at(key)).pod_prefixes.size(), 1U);
  list("ciliumnodes", {});
  EXPECT_FALSE(objects.contains(key));
}

TEST_F(ClusterObjectsTest, ARefusedPolicyClosesItsSubjectsUntilAValidVersionComes) {
  create(true);
  json policy{{"apiVersion", "cilium.io/v2"},
              {"kind", "CiliumNetworkPolicy"},
              {"metadata", {{"name", "web"}, {"namespace", "shop"}}},
              {"spec", {{"endpointSelector", json::object()}, {"ingress", {{{"fromEntities", {"wrold"}}}}}}}};
  const ObjectKey key{ObjectKind::kCiliumPolicy, "east", "shop", "web"};
  put("ciliumnetworkpolicies", policy);
  ASSERT_TRUE(objects.contains(key));
  const auto refused = std::get<PolicyObject>(objects.at(key));
  EXPECT_TRUE(refused.refused && refused.specs.at(0).default_deny_ingress && refused.specs.at(0).rules.empty());
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("what the policy selects is closed but for its other rules")));
  json valid = policy;
  valid["spec"]["ingress"][0]["fromEntities"][0] = "world";
  put("ciliumnetworkpolicies", valid);
  EXPECT_FALSE(std::get<PolicyObject>(objects.at(key)).refused);
  put("ciliumnetworkpolicies", policy);
  EXPECT_EQ(std::get<PolicyObject>(objects.at(key)).specs.at(0).rules.size(), 1U);
  remove("ciliumnetworkpolicies", policy);
  put("ciliumnetworkpolicies", policy);
  EXPECT_TRUE(std::get<PolicyObject>(objects.at(key)).refused);
  remove("ciliumnetworkpolicies", policy);
  EXPECT_FALSE(objects.contains(key));
}

TEST_F(ClusterObjectsTest, AnInvalidVersionKeepsTheLastValidOneAndIsLoggedOnce) {
  create(true);
  put("services", service("cart", true));
  json bad = service("cart", false);
  bad["spec"]["ports"] = {{{"port", 0}}};
  put("services", bad);
  put("services", bad);
  EXPECT_TRUE(global("shop", "cart"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("out of range; the previous version stays in force")));
  EXPECT_THAT(hub->take_log(), ElementsAre(HasSubstr("Service shop/cart of cluster east is invalid")));
  const auto& counts = hub->counts(resource("services"));
  EXPECT_EQ(counts.rejected, 2U);
  EXPECT_THAT(counts.invalid, ElementsAre("shop/cart"));
  EXPECT_EQ(hub->problems({}).at(0).object, (ObjectKey{ObjectKind::kService, "east", "shop", "cart"}));
  EXPECT_EQ(hub->problems({}).at(0).provenance.location, "https://api/api/v1/namespaces/shop/services/cart");
  put("services", service("cart", false));
  EXPECT_FALSE(global("shop", "cart"));
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_THAT(hub->counts(resource("services")).invalid, IsEmpty());
  put("services", bad);
  remove("services", bad);
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_EQ(hub->counts(resource("services")).objects, 0U);
}

TEST_F(ClusterObjectsTest, AnObjectOfAnotherKindIsRejected) {
  create(true);
  json pod = service("cart", true);
  pod["kind"] = "Pod";
  pod["apiVersion"] = "v1";
  put("services", pod);
  put("services", {{"kind", "List"}, {"apiVersion", "v1"}, {"metadata", {{"name", "x"}}}, {"items", {pod, pod}}});
  put("services", {{"metadata", json::object()}});
  EXPECT_TRUE(objects.empty());
  EXPECT_EQ(hub->counts(resource("services")).rejected, 3U);
}

TEST_F(ClusterObjectsTest, ARelistRemovesMissingObjectsOfItsKindOnly) {
  create(true);
  list("services", {service("cart", true), service("pay", true)});
  list("pods", {named("shop", "p")});
  list("services", {service("pay", true)});
  EXPECT_FALSE(objects.contains({ObjectKind::kService, "east", "shop", "cart"}));
  EXPECT_TRUE(objects.contains({ObjectKind::kService, "east", "shop", "pay"}));
  EXPECT_TRUE(objects.contains({ObjectKind::kPod, "east", "shop", "p"}));
  EXPECT_EQ(hub->counts(resource("services")).objects, 1U);
}

TEST_F(ClusterObjectsTest, AnEqualVersionIsNoDelta) {
  create(true);
  put("services", service("cart", true));
  json again = service("cart", true);
  again["metadata"]["resourceVersion"] = "8";
  hub->put(resource("services"), "v1", std::get<YamlNode>(parse_json(again.dump())));
  EXPECT_THAT(hub->take_deltas({}), IsEmpty());
}

TEST_F(ClusterObjectsTest, OurOwnKindsBelongToTheFleet) {
  create(true);
  put("clusters", {{"metadata", {{"name", "west"}}}, {"spec", {{"id", 2}, {"podCIDRs", {"10.2.0.0/16"}}}}});
  EXPECT_TRUE(objects.contains({ObjectKind::kCluster, "", "", "west"}));
}

json imported_slice(const std::string& name, const std::string& source, const std::string& address) {
  return {{"metadata",
           {{"name", name},
            {"namespace", "shop"},
            {"labels",
             {{"kubernetes.io/service-name", "derived-bsqa4s8pq5"},
              {"multicluster.kubernetes.io/service-name", "cart"},
              {"multicluster.kubernetes.io/source-cluster", source}}}}},
          {"addressType", "IPv4"},
          {"endpoints", {{{"addresses", {address}}, {"conditions", {{"ready", true}}}}}},
          {"ports", {{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}}}}};
}
json service_import(unsigned port) {
  return {
      {"metadata", {{"name", "cart"}, {"namespace", "shop"}}},
      {"spec", {{"type", "ClusterSetIP"}, {"ips", {"10.200.0.1"}}, {"ports", {{{"name", "http"}, {"port", port}}}}}}};
}

TEST_F(ClusterObjectsTest, ImportedSlicesBelongToTheirSourceClusterWithAService) {
  create(true);
  put("serviceimports", service_import(80));
  put("endpointslices", imported_slice("w-1", "west", "10.2.0.5"));
  put("endpointslices", imported_slice("w-2", "west", "10.2.0.6"));
  put("endpointslices", imported_slice("e-1", "east", "10.1.0.5"));
  const ObjectKey service{ObjectKind::kService, "west", "shop", "cart"};
  const ObjectKey slice{ObjectKind::kSlice, "west", "shop", "w-1"};
  ASSERT_TRUE(objects.contains(service) && objects.contains(slice));
  EXPECT_EQ(std::get<SliceObject>(objects.at(slice)).service, "cart");
  EXPECT_TRUE(std::get<ServiceObject>(objects.at(service)).global);
  EXPECT_EQ(std::get<ServiceObject>(objects.at(service)).ports.at(0).port, L4Port{80});
  EXPECT_FALSE(objects.contains({ObjectKind::kSlice, "east", "shop", "e-1"}))
      << "the cluster's own endpoints are read from its own slices";
  EXPECT_EQ(objects.size(), 4U);
  EXPECT_THAT(problems(), IsEmpty());
  put("serviceimports", service_import(81));
  EXPECT_EQ(std::get<ServiceObject>(objects.at(service)).ports.at(0).port, L4Port{81});
  remove("endpointslices", imported_slice("w-1", "west", "10.2.0.5"));
  EXPECT_TRUE(objects.contains(service));
  list("endpointslices", {});
  EXPECT_FALSE(objects.contains(service)) << "removed with its last slice";
  EXPECT_EQ(objects.size(), 1U);
}

TEST_F(ClusterObjectsTest, ASliceWithAnotherSourceClusterLeavesNothingBehind) {
  create(true);
  put("serviceimports", service_import(80));
  put("endpointslices", imported_slice("w-1", "west", "10.2.0.5"));
  put("endpointslices", imported_slice("w-1", "north", "10.3.0.5"));
  const auto has = [&](ObjectKind kind, const char* cluster, const char* name) {
    return objects.contains({kind, cluster, "shop", name});
  };
  EXPECT_FALSE(has(ObjectKind::kSlice, "west", "w-1") || has(ObjectKind::kService, "west", "cart"));
  EXPECT_TRUE(has(ObjectKind::kSlice, "north", "w-1") && has(ObjectKind::kService, "north", "cart"));
  remove("endpointslices", imported_slice("w-1", "south", "10.3.0.5"));
  EXPECT_FALSE(has(ObjectKind::kSlice, "north", "w-1") || has(ObjectKind::kService, "north", "cart"))
      << "it goes, whatever label it has by then";
  put("endpointslices", imported_slice("w-1", "west", "10.2.0.5"));
  EXPECT_TRUE(has(ObjectKind::kSlice, "west", "w-1"));
  EXPECT_EQ(objects.size(), 3U);
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ClusterObjectsTest, ImportedSlicesCanBeIgnored) {
  create(true, false);
  list("endpointslices", {imported_slice("w-1", "west", "10.2.0.5")});
  remove("endpointslices", imported_slice("w-1", "west", "10.2.0.5"));
  EXPECT_TRUE(objects.empty());
}

TEST_F(ClusterObjectsTest, PoliciesThatAreNotReadAreNamedWhileTheyExist) {
  create(true);
  for (const char* plural : {"adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"}) {
    list(plural, {{{"metadata", {{"name", "block"}}}}});
    EXPECT_THAT(problems(), ElementsAre(HasSubstr("Policy block is not read: this policy is not enforced"))) << plural;
    EXPECT_THAT(hub->problems({})[0].provenance.text(), HasSubstr(std::string("/") + plural + "/block"));
    EXPECT_EQ(hub->counts(resource(plural)).objects, 1U);
    put(plural, {{"metadata", {{"name", "other"}}}});
    EXPECT_EQ(problems().size(), 2U);
    remove(plural, {{"metadata", {{"name", "other"}}}});
    EXPECT_EQ(problems().size(), 1U);
    list(plural, {});
    EXPECT_THAT(problems(), IsEmpty());
    EXPECT_EQ(hub->counts(resource(plural)).objects, 0U);
  }
  EXPECT_TRUE(objects.empty());
}

TEST_F(ClusterObjectsTest, AnImportedSliceWithAnInvalidClusterNameIsRejected) {
  create(true);
  put("endpointslices", imported_slice("w-1", "West!", "10.2.0.5"));
  EXPECT_TRUE(objects.empty());
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("source-cluster is \"West!\", not a valid cluster name")));
}

}  // namespace
}  // namespace isthmus
