// What is written about objects, by whom, and that it ends.
#include "control/source/kubernetes/object_reports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "test/unit/source/kubernetes/reported_objects.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;
using What = ApiWrite::What;

constexpr const char* kPolicyUrl = "https://api/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/web";

constexpr const char* kLeftOut = "a prefix is left out";

class ObjectStatusReports : public testing::Test {
 protected:
  ObjectStatusReports() { objects.add("west"); }
  // Does all that is due; what it was.
  static std::vector<What> settle(ReportingGateway& gateway) {
    std::vector<What> done;
    while (const auto write = gateway.next()) {
      EXPECT_LT(done.size(), 10U);
      done.push_back(write->what);
      (void)gateway.step();
      gateway.pass(seconds(2));
    }
    return done;
  }
  ReportedObjects objects;
};

TEST_F(ObjectStatusReports, NothingIsWrittenWhileNothingIsKnown) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  EXPECT_FALSE(gateway.next());
  EXPECT_EQ(gateway.reports.objects()->at(ReportedObjects::url("west")).generation, 3);
}

TEST_F(ObjectStatusReports, WhatIsAcceptedIsSaidOnceAndNotAgain) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  EXPECT_EQ(settle(gateway), std::vector{What::kSummary});
  EXPECT_TRUE(objects.entries("west").empty());
  const json accepted = objects.accepted("west");
  EXPECT_EQ(accepted["status"], "True");
  EXPECT_EQ(accepted["observedGeneration"], 3);
  EXPECT_EQ(accepted["lastTransitionTime"], "2027-01-15T08:00:00Z");
  gateway.pass(std::chrono::hours(5));
  EXPECT_FALSE(gateway.next());
}

TEST_F(ObjectStatusReports, WhatIsRefusedInPartHasAnEntryUntilItIsNot) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.say(true, "PartlyRefused", kLeftOut);
  EXPECT_EQ(settle(gateway), (std::vector{What::kEntry, What::kSummary}));
  EXPECT_EQ(objects.entries("west")[0]["conditions"][0]["message"], "a prefix is left out");
  EXPECT_EQ(objects.accepted("west")["message"], "gateway east-1: a prefix is left out");
  gateway.accept();
  EXPECT_EQ(settle(gateway), (std::vector{What::kRemoval, What::kSummary}));
  EXPECT_TRUE(objects.entries("west").empty());
  EXPECT_EQ(objects.accepted("west")["reason"], "Accepted");
}

TEST_F(ObjectStatusReports, ItsOwnGatewayObjectHasItsEntryAndWhetherItServes) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  GatewayReport report;
  report.gateway = "east-1";
  report.gateways = {"east-1"};
  report.own = ReportedObjects::url("west");
  report.objects = {{report.own, 3, true, "Accepted", "in use"}};
  report.ready = true;
  report.ready_reason = "Serving";
  report.version = "1";
  gateway.reports.set(std::make_shared<const GatewayReport>(report));
  const auto write = gateway.next();
  ASSERT_TRUE(write);
  const json status = json::parse(write->body)["status"];
  EXPECT_EQ(status["gateways"][0]["name"], "east-1");
  EXPECT_EQ(status["conditions"][0]["reason"], "Serving");
  EXPECT_EQ(status["version"], "1");
}

TEST_F(ObjectStatusReports, AVersionThatTheGatewayHasNotSeenIsNotCalledAccepted) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  GatewayReport report;
  report.gateway = "east-1";
  report.gateways = {"east-1"};
  report.objects = {{ReportedObjects::url("west"), 2, true, "Accepted", "in use"}};
  gateway.reports.set(std::make_shared<const GatewayReport>(report));
  EXPECT_FALSE(gateway.next());
}

TEST_F(ObjectStatusReports, TheTimeOfAConditionIsThatOfItsStatus) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  settle(gateway);
  const json first = objects.accepted("west")["lastTransitionTime"];
  gateway.pass(seconds(100));
  gateway.say(true, "PartlyRefused", kLeftOut);
  settle(gateway);
  EXPECT_EQ(objects.accepted("west")["lastTransitionTime"], first);
  gateway.pass(seconds(100));
  gateway.refuse();
  settle(gateway);
  EXPECT_EQ(objects.accepted("west")["status"], "False");
  EXPECT_NE(objects.accepted("west")["lastTransitionTime"], first);
}

TEST_F(ObjectStatusReports, OneGatewayWritesForAllAndTheNextWhereItDoesNot) {
  const std::set<std::string> both{"east-1", "east-2"};
  ReportingGateway one("east-1", objects, both), other("east-2", objects, both);
  one.accept();
  other.accept();
  const bool begins = one.next().has_value();
  EXPECT_NE(begins, other.next().has_value());
  ReportingGateway& second = begins ? other : one;
  second.pass(milliseconds(4900));
  EXPECT_FALSE(second.next());
  second.pass(milliseconds(100));
  EXPECT_EQ(settle(second), std::vector{What::kSummary});
  ReportingGateway& first = begins ? one : other;
  first.see();
  EXPECT_FALSE(first.next());  // it would write the same
}

TEST_F(ObjectStatusReports, WhatOneRefusesTheWholeIsNot) {
  const std::set<std::string> both{"east-1", "east-2"};
  ReportingGateway one("east-1", objects, both), other("east-2", objects, both);
  one.accept();
  other.refuse();
  other.run(seconds(10));
  one.see();
  one.run(seconds(10));
  EXPECT_EQ(objects.accepted("west")["status"], "False");
  EXPECT_EQ(objects.accepted("west")["message"], "gateway east-2: the id is taken");
  EXPECT_EQ(one.writes[What::kSummary] + other.writes[What::kSummary], 1);
  EXPECT_EQ(one.writes[What::kEntry], 0);
}

TEST_F(ObjectStatusReports, TheEntryOfAGatewayThatIsGoneIsRemovedAfterAWhile) {
  ReportingGateway gone("east-0", objects, {"east-0"}), writer("east-1", objects, {"east-1"});
  gone.refuse();
  settle(gone);
  writer.see();
  writer.accept();
  EXPECT_EQ(settle(writer), std::vector{What::kSummary});  // it has no say any more
  EXPECT_EQ(objects.accepted("west")["status"], "True");
  writer.pass(seconds(55));
  EXPECT_FALSE(writer.next());
  writer.pass(seconds(10));
  const auto write = writer.next();
  ASSERT_TRUE(write);
  EXPECT_EQ(write->what, What::kRemoval);
  EXPECT_THAT(write->target, HasSubstr("fieldManager=isthmus-gateway-east-0"));
  EXPECT_EQ(json::parse(write->body)["status"], json::object());
  settle(writer);
  EXPECT_TRUE(objects.entries("west").empty());
}

TEST_F(ObjectStatusReports, ARightThatIsMissingHoldsUpWhatNeedsIt) {
  objects.add("north");
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  const auto write = gateway.next();
  ASSERT_TRUE(write);
  EXPECT_EQ(write->right, "patch on clusters/status of isthmus.io");
  gateway.reports.refuse(*write, gateway.now + seconds(60));
  gateway.pass(seconds(59));
  EXPECT_FALSE(gateway.next());
  gateway.pass(seconds(1));
  EXPECT_TRUE(gateway.next());
}

TEST_F(ObjectStatusReports, WhatIsDeniedHoldsUpItsObjectAndAfterAFewOfThemTheRight) {
  for (const char* name : {"a", "b", "c", "d"}) {
    objects.add(name);
  }
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  const auto deny = [&] {
    const auto write = gateway.next();
    ASSERT_TRUE(write);
    gateway.reports.deny(*write, gateway.now + seconds(60));
  };
  deny();
  deny();
  EXPECT_EQ(gateway.step(), "c");  // a success: it is not the right
  deny();
  deny();
  EXPECT_FALSE(gateway.next());  // a and b wait, and c is written
  gateway.pass(seconds(60));
  deny();
  EXPECT_FALSE(gateway.next());
}

TEST_F(ObjectStatusReports, WhatIsWrittenOrNoLongerReportedIsNotWanted) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  const std::string url = ReportedObjects::url("west");
  EXPECT_FALSE(gateway.reports.wants(url));
  gateway.accept();
  EXPECT_TRUE(gateway.reports.wants(url));
  const auto write = gateway.next();
  ASSERT_TRUE(write);
  gateway.reports.postpone(*write, gateway.now + std::chrono::hours(1));
  EXPECT_TRUE(gateway.reports.wants(url));
  gateway.pass(std::chrono::hours(1));
  settle(gateway);
  EXPECT_FALSE(gateway.reports.wants(url));
  gateway.refuse();
  EXPECT_TRUE(gateway.reports.wants(url));
  GatewayReport nothing;
  nothing.gateway = "east-1";
  gateway.reports.set(std::make_shared<const GatewayReport>(nothing));
  EXPECT_FALSE(gateway.reports.wants(url));
}

TEST_F(ObjectStatusReports, AnotherObjectOfTheNameIsReportedAnew) {
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  settle(gateway);
  json another = objects.object("west");
  another["metadata"]["uid"] = "u2";
  another.erase("status");
  const std::string url = ReportedObjects::url("west");
  gateway.reports.put({url, "/apis/isthmus.io/v1alpha1/clusters/west", "isthmus.io/v1alpha1", "Cluster", "clusters"},
                      {ObjectKind::kCluster, {}, {}, "west"}, std::get<YamlNode>(parse_json(another.dump())));
  const auto write = gateway.next();
  ASSERT_TRUE(write);
  EXPECT_EQ(json::parse(write->body)["metadata"]["uid"], "u2");
  gateway.reports.erase(url);
  EXPECT_FALSE(gateway.next());
  EXPECT_TRUE(gateway.reports.objects()->empty());
}

TEST_F(ObjectStatusReports, WhatAKilledGatewaySaidOfAnOlderVersionDoesNotStandForEver) {
  const json old{{"type", "Accepted"},      {"status", "False"},
                 {"reason", "Refused"},     {"message", "the id is taken"},
                 {"observedGeneration", 2}, {"lastTransitionTime", "2026-01-01T00:00:00Z"}};
  objects.add("west", {{"gateways", json::array({{{"name", "east-2"}, {"conditions", json::array({old})}}})},
                       {"conditions", json::array({old})}});
  ReportingGateway gateway("east-1", objects, {"east-1", "east-2"});  // the Gateway object of east-2 is there still
  gateway.accept();
  gateway.run(seconds(60));
  EXPECT_EQ(objects.accepted("west")["status"], "False") << "it may say something of this version yet";
  gateway.run(seconds(3600));
  EXPECT_EQ(objects.accepted("west")["status"], "True");
}

class PolicyEvents : public testing::Test {
 protected:
  static void see(ObjectReports& reports, int generation) {
    const json object{
        {"metadata", {{"name", "web"}, {"namespace", "shop"}, {"uid", "u7"}, {"generation", generation}}}};
    reports.put({kPolicyUrl, "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/web", "networking.k8s.io/v1",
                 "NetworkPolicy", "networkpolicies"},
                {ObjectKind::kNetworkPolicy, "east", "shop", "web"}, std::get<YamlNode>(parse_json(object.dump())));
  }
  static void say(ObjectReports& reports, const std::string& gateway, int generation, const std::string& message) {
    GatewayReport report;
    report.gateway = gateway;
    report.gateways = {gateway};
    report.objects = {{kPolicyUrl, generation, false, "PolicyPartlyRefused", message}};
    reports.set(std::make_shared<const GatewayReport>(report));
  }
  static std::string name_of(const ApiWrite& write) { return json::parse(write.body)["metadata"]["name"]; }

  ObjectReports::Clock::time_point now{std::chrono::hours(1)};
  ObjectReports::WallClock::time_point wall{seconds(1'800'000'000)};
};

TEST_F(PolicyEvents, AllGatewaysGiveOneNameAndEachWritesOnce) {
  ObjectReports first, second;
  for (const auto& [reports, gateway] : {std::pair{&first, "east-1"}, std::pair{&second, "east-2"}}) {
    see(*reports, 2);
    say(*reports, gateway, 2, "rule 1 (write another)");
  }
  const auto one = first.next(now, wall), other = second.next(now, wall);
  ASSERT_TRUE(one && other);
  EXPECT_EQ(name_of(*one), name_of(*other));
  EXPECT_EQ(one->target, "/apis/events.k8s.io/v1/namespaces/shop/events");
  const json event = json::parse(one->body);
  EXPECT_EQ(event["eventTime"], "2027-01-15T08:00:00.000000Z");
  EXPECT_EQ(event["regarding"]["uid"], "u7");
  EXPECT_EQ(event["note"], "rule 1 (write another)");
  first.written(*one, nullptr, now);
  EXPECT_FALSE(first.next(now + minutes(60), wall));  // the server has it until then
  EXPECT_TRUE(first.next(now + minutes(62), wall));
  second.exists(*other, now);  // since when, nobody says
  EXPECT_TRUE(second.next(now + minutes(6), wall));
}

// A server keeps an Event for an hour, and answers 409 to another one of the name until then, which prolongs nothing.
TEST_F(PolicyEvents, AnEventAboutARefusedPolicyIsThereAllTheTime) {
  ObjectReports reports;
  see(reports, 2);
  say(reports, "east-1", 2, "rule 1");
  const auto begin = now;
  auto created = now - minutes(30);  // by this gateway's predecessor
  int without = 0, posts = 0;
  for (; now - begin < std::chrono::hours(11); now += seconds(1), wall += seconds(1)) {
    const bool there = now - created < minutes(60);
    if (const auto write = reports.next(now, wall)) {
      ++posts;
      created = there ? created : now;
      there ? reports.exists(*write, now) : reports.written(*write, nullptr, now);
    } else {
      without += there ? 0 : 1;
    }
  }
  EXPECT_LT(without, 11 * 120);
  EXPECT_LT(posts, 40);
}

TEST_F(PolicyEvents, AnotherGenerationIsAnotherEventAndAnOlderOneIsNone) {
  ObjectReports reports;
  see(reports, 2);
  say(reports, "east-1", 2, "rule 1");
  const auto before = reports.next(now, wall);
  ASSERT_TRUE(before);
  see(reports, 3);
  EXPECT_FALSE(reports.next(now, wall));
  say(reports, "east-1", 3, "rule 1");
  const auto after = reports.next(now, wall);
  ASSERT_TRUE(after);
  EXPECT_NE(name_of(*before), name_of(*after));
}

// Of namespace and name, beside a Cluster.
void see_policies(ObjectReports& reports, const std::vector<std::pair<std::string, std::string>>& policies) {
  GatewayReport report;
  report.gateway = "east-1";
  for (const auto& [ns, name] : policies) {
    const std::string path = "/apis/cilium.io/v2/namespaces/" + ns + "/ciliumnetworkpolicies/" + name;
    const json object{{"metadata", {{"name", name}, {"namespace", ns}, {"uid", ns + name}, {"generation", 1}}}};
    reports.put({"https://api" + path, path, "cilium.io/v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies"},
                {ObjectKind::kCiliumPolicy, "east", ns, name}, std::get<YamlNode>(parse_json(object.dump())));
    report.objects.push_back({"https://api" + path, 1, false, "PolicyRefused", "rule 1"});
  }
  const std::string url = ReportedObjects::url("west");
  const json west{{"metadata", {{"name", "west"}, {"uid", "u1"}, {"generation", 3}}}};
  reports.put({url, "/apis/isthmus.io/v1alpha1/clusters/west", "isthmus.io/v1alpha1", "Cluster", "clusters"},
              {ObjectKind::kCluster, {}, {}, "west"}, std::get<YamlNode>(parse_json(west.dump())));
  report.objects.push_back({url, 3, true, "Accepted", "in use"});
  reports.set(std::make_shared<const GatewayReport>(report));
}

TEST_F(PolicyEvents, StatusesDoNotWaitForEvents) {
  ObjectReports reports;
  see_policies(reports, {{"a", "web"}});
  const auto write = reports.next(now, wall);
  ASSERT_TRUE(write);
  EXPECT_EQ(write->what, What::kSummary);
}

TEST_F(PolicyEvents, StatusesThatCannotBeWrittenHoldUpNone) {
  ObjectReports reports;
  see_policies(reports, {{"a", "web"}});
  std::string order;
  for (int i = 0; i < 4; ++i) {  // the status is due again each time
    const auto write = reports.next(now, wall);
    ASSERT_TRUE(write);
    order += write->what == What::kEvent ? "event " : "status ";
    reports.postpone(*write, now);
  }
  EXPECT_EQ(order, "status event status event ");
}

TEST_F(PolicyEvents, EachPolicyHasItsTurnBeforeTheFirstHasItAgain) {
  ObjectReports reports;
  see_policies(reports, {{"a", "web"}, {"b", "web"}, {"c", "web"}});
  const auto status = reports.next(now, wall);
  ASSERT_TRUE(status);
  reports.postpone(*status, now + std::chrono::hours(10));
  std::string order;
  for (int i = 0; i < 4; ++i) {
    const auto write = reports.next(now, wall);
    ASSERT_TRUE(write);
    order += write->ns;
    reports.written(*write, nullptr, now);
    now += minutes(62);
  }
  EXPECT_EQ(order, "abca");
}

TEST_F(PolicyEvents, ANamespaceThatTakesNoneHoldsUpNoOther) {
  ObjectReports reports;
  see_policies(reports, {{"ending", "web"}, {"shop", "web"}});
  const auto status = reports.next(now, wall);
  ASSERT_TRUE(status);
  reports.refuse(*status, now + seconds(600));
  const auto ending = reports.next(now, wall);
  ASSERT_TRUE(ending);
  EXPECT_EQ(ending->ns, "ending");
  reports.refuse(*ending, now + seconds(60));
  const auto other = reports.next(now, wall);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->ns, "shop");
}

TEST_F(PolicyEvents, TheNameIsOneThatServersTake) {
  ObjectReports reports;
  see_policies(reports, {{"a", std::string(229, 'x') + ".y"}});
  const auto status = reports.next(now, wall);
  ASSERT_TRUE(status);
  reports.refuse(*status, now + seconds(60));
  const auto write = reports.next(now, wall);
  ASSERT_TRUE(write);
  EXPECT_THAT(name_of(*write), Not(HasSubstr("..")));
}

TEST_F(PolicyEvents, ANoteThatIsTooLongIsCutBetweenCharacters) {
  ObjectReports reports;
  see(reports, 2);
  std::string text = "x";
  for (int i = 0; i < 1000; ++i) {
    text += "\xc3\xa4";
  }
  say(reports, "east-1", 2, text);
  const auto write = reports.next(now, wall);
  ASSERT_TRUE(write);
  const std::string note = json::parse(write->body)["note"];
  EXPECT_LE(note.size(), 1024U);
  EXPECT_THAT(note, testing::EndsWith("\xc3\xa4..."));
}

}  // namespace
}  // namespace isthmus
