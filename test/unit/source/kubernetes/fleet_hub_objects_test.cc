// Which objects of a Fleet hub count: objects in, and what is in force for every member after them.
#include "control/source/kubernetes/fleet_hub_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/yaml/json.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Hub = FleetHubObjects;

constexpr auto kNetworking = "networking.fleet.azure.com/v1alpha1";

YamlNode tree(const json& object) {
  auto parsed = parse_json(object.dump());
  EXPECT_TRUE(std::holds_alternative<YamlNode>(parsed));
  return std::get<YamlNode>(parsed);
}

json slice_export(const std::string& cluster, const std::string& id, const std::string& slice,
                  std::vector<std::string> addresses) {
  return {{"metadata",
           {{"namespace", "fleet-member-" + cluster}, {"name", id}, {"creationTimestamp", "2026-03-02T10:00:00Z"}}},
          {"spec",
           {{"addressType", "IPv4"},
            {"endpoints", {{{"addresses", addresses}}}},
            {"ports", {{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}}}},
            {"endpointSliceReference",
             {{"clusterId", cluster},
              {"kind", "EndpointSlice"},
              {"namespace", "shop"},
              {"name", slice},
              {"resourceVersion", "7"},
              {"generation", 1},
              {"uid", "uid-" + cluster + slice},
              {"namespacedName", "shop/" + slice}}},
            {"ownerServiceReference", {{"namespace", "shop"}, {"name", "cart"}, {"namespacedName", "shop/cart"}}}}}};
}
json service_export(const std::string& cluster, const std::string& conflict = "False") {
  return {{"metadata",
           {{"namespace", "fleet-member-" + cluster},
            {"name", "shop-cart"},
            {"creationTimestamp", "2026-03-02T09:00:00Z"}}},
          {"spec",
           {{"ports", {{{"name", "http"}, {"port", 80}, {"protocol", "TCP"}, {"targetPort", 8080}}}},
            {"serviceReference", {{"clusterId", cluster}, {"namespace", "shop"}, {"name", "cart"}}}}},
          {"status", {{"conditions", {{{"type", "Conflict"}, {"status", conflict}}}}}}};
}
json import_of(const std::vector<std::string>& clusters) {
  json list = json::array();
  for (const std::string& cluster : clusters) {
    list.push_back({{"cluster", cluster}});
  }
  return {{"metadata", {{"namespace", "shop"}, {"name", "cart"}}}, {"status", {{"clusters", list}}}};
}
json member_cluster(const std::string& name, const std::string& joined = "True",
                    const std::string& heartbeat = "2026-03-02T10:00:00Z") {
  return {{"metadata", {{"name", name}}},
          {"spec", {{"heartbeatPeriodSeconds", 60}}},
          {"status",
           {{"conditions", {{{"type", "Joined"}, {"status", joined}}}},
            {"agentStatus", {{{"type", "ServiceExportImportAgent"}, {"lastReceivedHeartbeat", heartbeat}}}}}}};
}

class FleetHub : public testing::Test {
 protected:
  FleetHub() { create({}); }
  void create(FleetHubObjectsOptions options) {
    options.server = "https://hub";
    hub.emplace(std::move(options));
    objects.clear();
  }
  void put(std::size_t resource, const json& object) { hub->put(resource, kNetworking, tree(object)); }
  void remove(std::size_t resource, const json& object) { hub->removed(resource, tree(object)); }
  void list(std::size_t resource, const std::vector<json>& all) {
    hub->list_begins(resource);
    for (const json& object : all) {
      put(resource, object);
    }
    hub->list_ends(resource);
  }
  // West exports shop/cart with one endpoint; all conditions are met.
  void set_up_west() {
    list(Hub::kSliceExports, {slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.5"})});
    list(Hub::kServiceExports, {service_export("west")});
    list(Hub::kServiceImports, {import_of({"west"})});
    list(Hub::kMembers, {member_cluster("west"), member_cluster("north")});
    apply_deltas();
  }
  // Applies the pending deltas and returns their number.
  std::size_t apply_deltas() {
    const auto deltas = hub->take_deltas(now);
    for (const ObjectDelta& delta : deltas) {
      if (delta.value) {
        objects.insert_or_assign(delta.key, *delta.value);
      } else {
        EXPECT_EQ(objects.erase(delta.key), 1U) << delta.key.name;
      }
    }
    return deltas.size();
  }
  // "west cart-1", "west cart", "west 10.2.0.5"
  std::vector<std::string> in_force() {
    apply_deltas();
    std::vector<std::string> out;
    for (const auto& [key, value] : objects) {
      out.push_back(key.cluster + " " + key.name);
    }
    return out;
  }
  std::vector<std::string> problems(const std::string& at = "2026-03-02T10:01:00Z") {
    const auto seconds = std::chrono::seconds(at == "2026-03-02T10:01:00Z" ? 1772445660 : 1772449200);
    std::vector<std::string> out;
    for (const SourceProblem& problem : hub->problems(std::chrono::system_clock::time_point(seconds))) {
      out.push_back(problem.what);
    }
    return out;
  }

  std::optional<Hub> hub;
  std::map<ObjectKey, ObjectValue> objects;
  ApiObjects::Clock::time_point now{};
};

TEST_F(FleetHub, EmitsServiceSliceAndAddressesOfAMember) {
  set_up_west();
  EXPECT_THAT(in_force(), ElementsAre("west cart", "west cart-1", "west 10.2.0.5"));
  const auto& service = std::get<ServiceObject>(objects.at({ObjectKind::kService, "west", "shop", "cart"}));
  EXPECT_TRUE(service.global);
  ASSERT_EQ(service.ports.size(), 1U);
  EXPECT_EQ(service.ports[0], (ServicePort{"http", IpProtocol::kTcp, L4Port{80}}));
  const auto& slice = std::get<SliceObject>(objects.at({ObjectKind::kSlice, "west", "shop", "cart-1"}));
  EXPECT_EQ(slice.service, "cart");
  EXPECT_EQ(slice.ports.at(0).port, L4Port{8080});
  const auto& address = std::get<AddressObject>(objects.at({ObjectKind::kAddress, "west", "", "10.2.0.5"}));
  EXPECT_EQ(address.identity, identity::kUnknown) << "the hub publishes no labels";
  EXPECT_EQ(address.prefix.to_string(), "10.2.0.5/32");
}

TEST_F(FleetHub, EmitsNothingBeforeEveryResourceWasListed) {
  list(Hub::kSliceExports, {slice_export("west", "x", "cart-1", {"10.2.0.5"})});
  list(Hub::kServiceExports, {service_export("west")});
  list(Hub::kMembers, {member_cluster("west")});
  EXPECT_THAT(in_force(), IsEmpty());
  list(Hub::kServiceImports, {import_of({"west"})});
  EXPECT_EQ(in_force().size(), 3U);
}

TEST_F(FleetHub, AnyConditionThatBecomesFalseWithdrawsTheExport) {
  struct Row {
    const char* what;
    std::function<void()> change, back;
  };
  set_up_west();
  json deleting_export = service_export("west"),
       deleting_slice = slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.5"});
  deleting_export["metadata"]["deletionTimestamp"] = "2026-03-02T11:00:00Z";
  deleting_slice["metadata"]["deletionTimestamp"] = "2026-03-02T11:00:00Z";
  const json slice = slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.5"});
  const std::vector<Row> rows{
      {"weight 0 deletes the InternalServiceExport and leaves the slice",
       [&] { remove(Hub::kServiceExports, service_export("west")); },
       [&] { put(Hub::kServiceExports, service_export("west")); }},
      {"the InternalServiceExport is being deleted", [&] { put(Hub::kServiceExports, deleting_export); },
       [&] { put(Hub::kServiceExports, service_export("west")); }},
      {"its ports conflict", [&] { put(Hub::kServiceExports, service_export("west", "True")); },
       [&] { put(Hub::kServiceExports, service_export("west")); }},
      {"the conflict is unknown", [&] { put(Hub::kServiceExports, service_export("west", "Unknown")); },
       [&] { put(Hub::kServiceExports, service_export("west")); }},
      {"the ServiceImport lists other members", [&] { put(Hub::kServiceImports, import_of({"north"})); },
       [&] {
         put(Hub::kServiceImports, import_of({"north", "west"}));
       }},
      {"the member left", [&] { put(Hub::kMembers, member_cluster("west", "False")); },
       [&] { put(Hub::kMembers, member_cluster("west")); }},
      {"the member is removed", [&] { remove(Hub::kMembers, member_cluster("west")); },
       [&] { put(Hub::kMembers, member_cluster("west")); }},
  };
  for (const Row& row : rows) {
    row.change();
    EXPECT_THAT(in_force(), IsEmpty()) << row.what;
    row.back();
    EXPECT_EQ(in_force().size(), 3U) << row.what;
  }
  put(Hub::kSliceExports, deleting_slice);
  EXPECT_THAT(in_force(), ElementsAre("west cart"));
  put(Hub::kSliceExports, slice);
  EXPECT_EQ(in_force().size(), 3U);
}

TEST_F(FleetHub, ChangesThatDoNotAffectEndpointsAreNoDelta) {
  set_up_west();
  json again = slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.5"});
  again["spec"]["endpointSliceReference"]["resourceVersion"] = "8";
  again["spec"]["endpointSliceReference"]["generation"] = 9;
  again["metadata"]["finalizers"] = {"networking.fleet.azure.com/endpointsliceexport-cleanup"};
  put(Hub::kSliceExports, again);
  EXPECT_EQ(apply_deltas(), 0U);
  put(Hub::kMembers, member_cluster("west", "True", "2026-03-02T10:00:55Z"));
  EXPECT_EQ(apply_deltas(), 0U);
  put(Hub::kSliceExports, slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.5", "10.2.0.6"}));
  EXPECT_EQ(apply_deltas(), 2U);  // the slice and the new address
  put(Hub::kSliceExports, slice_export("west", "west-shop-cart-x", "cart-1", {}));
  EXPECT_THAT(in_force(), ElementsAre("west cart", "west cart-1"));
}

TEST_F(FleetHub, ABlankImportIsAcceptedOnlyAfterTheRetentionTime) {
  set_up_west();
  put(Hub::kServiceImports, import_of({}));
  EXPECT_EQ(in_force().size(), 3U);
  ASSERT_TRUE(hub->due());
  now += milliseconds(9'999);
  EXPECT_EQ(in_force().size(), 3U);
  put(Hub::kServiceImports, import_of({"west"}));
  now += milliseconds(60'000);
  EXPECT_EQ(in_force().size(), 3U);
  EXPECT_FALSE(hub->due());

  remove(Hub::kServiceImports, import_of({}));
  EXPECT_EQ(in_force().size(), 3U);
  now = *hub->due();
  EXPECT_THAT(in_force(), IsEmpty());
}

TEST_F(FleetHub, ARenamedExportIsTheSameSlice) {
  set_up_west();
  json renamed = slice_export("west", "west-shop-cart-y", "cart-1", {"10.2.0.9"});
  renamed["metadata"]["creationTimestamp"] = "2026-03-02T10:05:00Z";
  put(Hub::kSliceExports, renamed);
  EXPECT_THAT(in_force(), ElementsAre("west cart", "west cart-1", "west 10.2.0.9"));
  remove(Hub::kSliceExports, slice_export("west", "west-shop-cart-x", "cart-1", {}));
  EXPECT_EQ(apply_deltas(), 0U);
}

TEST_F(FleetHub, NamesOfExportsAreNotParsed) {
  // Namespace a-b with service c, and namespace a with service b-c: one name on the hub.
  json first = service_export("west"), second = service_export("north");
  first["metadata"]["name"] = second["metadata"]["name"] = "a-b-c";
  first["spec"]["serviceReference"].update({{"namespace", "a-b"}, {"name", "c"}});
  second["spec"]["serviceReference"].update({{"namespace", "a"}, {"name", "b-c"}});
  const auto import = [](const std::string& ns, const std::string& name, const std::string& cluster) {
    json object = import_of({cluster});
    object["metadata"] = {{"namespace", ns}, {"name", name}};
    return object;
  };
  list(Hub::kSliceExports, {});
  list(Hub::kServiceExports, {first, second});
  list(Hub::kServiceImports, {import("a-b", "c", "west"), import("a", "b-c", "north")});
  list(Hub::kMembers, {member_cluster("west"), member_cluster("north")});
  EXPECT_THAT(in_force(), ElementsAre("north b-c", "west c"));
}

TEST_F(FleetHub, AMemberMayExportOnlyItsOwnEndpoints) {
  set_up_west();
  json forged = slice_export("west", "forged", "cart-9", {"10.2.0.66"});
  forged["metadata"]["namespace"] = "fleet-member-north";
  put(Hub::kSliceExports, forged);
  EXPECT_EQ(in_force().size(), 3U);
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("is in namespace \"fleet-member-north\"")));
  EXPECT_THAT(hub->counts(Hub::kSliceExports).invalid, ElementsAre("fleet-member-north/forged"));
  EXPECT_THAT(hub->take_log(), ElementsAre(HasSubstr("fleet-member-north/forged is invalid")));
}

TEST_F(FleetHub, AnInvalidVersionKeepsTheLastValidOne) {
  set_up_west();
  json bad = slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.999"});
  put(Hub::kSliceExports, bad);
  put(Hub::kSliceExports, bad);
  EXPECT_EQ(in_force().size(), 3U);
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("the previous version stays in force")));
  EXPECT_EQ(hub->take_log().size(), 1U);
  put(Hub::kSliceExports, slice_export("west", "west-shop-cart-x", "cart-1", {"10.2.0.7"}));
  EXPECT_THAT(in_force(), ElementsAre("west cart", "west cart-1", "west 10.2.0.7"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FleetHub, AMissingHeartbeatIsReportedAndWithdrawsNothing) {
  set_up_west();
  EXPECT_THAT(problems(), IsEmpty());
  EXPECT_THAT(problems("an hour later"), ElementsAre(HasSubstr("agent of cluster west")));
  EXPECT_EQ(in_force().size(), 3U);
}

TEST_F(FleetHub, ARelistRemovesMissingObjects) {
  set_up_west();
  list(Hub::kSliceExports, {slice_export("west", "z", "cart-2", {"10.2.0.5"})});
  EXPECT_THAT(in_force(), ElementsAre("west cart", "west cart-2", "west 10.2.0.5"));
}

TEST_F(FleetHub, AnAddressOfTwoServicesIsRemovedWithTheLast) {
  set_up_west();
  json other = slice_export("west", "o", "pay-1", {"10.2.0.5"}), exported = service_export("west");
  other["spec"]["ownerServiceReference"]["name"] = "pay";
  exported["metadata"]["name"] = "shop-pay";
  exported["spec"]["serviceReference"]["name"] = "pay";
  json import = import_of({"west"});
  import["metadata"]["name"] = "pay";
  put(Hub::kSliceExports, other);
  put(Hub::kServiceExports, exported);
  put(Hub::kServiceImports, import);
  EXPECT_EQ(in_force().size(), 5U);
  remove(Hub::kServiceExports, service_export("west"));
  EXPECT_THAT(in_force(), ElementsAre("west pay", "west pay-1", "west 10.2.0.5"));
  remove(Hub::kServiceExports, exported);
  EXPECT_THAT(in_force(), IsEmpty());
}

TEST_F(FleetHub, OwnExportsAreSkipped) {
  FleetHubObjectsOptions options;
  options.own_cluster = "north";
  create(options);
  list(Hub::kSliceExports,
       {slice_export("west", "x", "cart-1", {"10.2.0.5"}), slice_export("north", "y", "cart-1", {"10.3.0.5"})});
  list(Hub::kServiceExports, {service_export("west"), service_export("north")});
  list(Hub::kServiceImports, {import_of({"west", "north"})});
  list(Hub::kMembers, {member_cluster("west"), member_cluster("north")});
  EXPECT_THAT(in_force(), ElementsAre("west cart", "west cart-1", "west 10.2.0.5"));
}

TEST_F(FleetHub, WithoutAccessToMembersTheOtherConditionsApply) {
  list(Hub::kSliceExports, {slice_export("west", "x", "cart-1", {"10.2.0.5"})});
  list(Hub::kServiceExports, {service_export("west")});
  list(Hub::kServiceImports, {import_of({"west"})});
  hub->unavailable(Hub::kMembers);
  EXPECT_EQ(in_force().size(), 3U);
}

TEST_F(FleetHub, AConflictIsReportedByServiceAndCluster) {
  set_up_west();
  put(Hub::kServiceExports, service_export("west", "True"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("shop/cart of cluster west is not used")));
}

}  // namespace
}  // namespace isthmus
