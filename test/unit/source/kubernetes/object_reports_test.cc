// What is written about objects, by whom, and that it ends.
#include "control/source/kubernetes/object_reports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "config/yaml/json.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;
using What = ApiWrite::What;

constexpr const char* kUrl = "https://api/apis/isthmus.io/v1alpha1/clusters/west";
constexpr const char* kPolicyUrl = "https://api/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/web";

// An object as a server keeps it, as far as server-side apply to its status goes.
struct Served {
  json object{{"metadata", {{"name", "west"}, {"uid", "u1"}, {"generation", 3}}}, {"status", json::object()}};

  void apply(const ApiWrite& write) {
    const json body = json::parse(write.body);
    json& status = object["status"];
    const auto merge = [&](const char* list, const char* key) {
      for (const json& item : body["status"].value(list, json::array())) {
        json& have = status[list].is_null() ? status[list] = json::array() : status[list];
        have.erase(std::remove_if(have.begin(), have.end(), [&](const json& e) { return e[key] == item[key]; }),
                   have.end());
        have.push_back(item);
      }
    };
    merge("gateways", "name");
    merge("conditions", "type");
    if (write.what == What::kRemoval) {
      json& have = status["gateways"];
      have.erase(std::remove_if(have.begin(), have.end(), [&](const json& e) { return e["name"] == write.gateway; }),
                 have.end());
    }
  }
};

class Writer {
 public:
  Writer(std::string gateway, Served& served) : gateway_(std::move(gateway)), served_(served) { see(); }

  void see() {
    reports.put({kUrl, "/apis/isthmus.io/v1alpha1/clusters/west", "isthmus.io/v1alpha1", "Cluster", "clusters"},
                {ObjectKind::kCluster, {}, {}, "west"}, std::get<YamlNode>(parse_json(served_.object.dump())));
  }
  void say(bool accepted, const std::string& reason, const std::string& message, std::set<std::string> gateways) {
    GatewayReport report;
    report.gateway = gateway_;
    report.gateways = std::move(gateways);
    report.objects = {{kUrl, 3, accepted, reason, message}};
    reports.set(std::make_shared<const GatewayReport>(report));
  }
  std::optional<ApiWrite> next() { return reports.next(now, wall); }
  // Does all that is due; what it was.
  std::vector<What> settle() {
    std::vector<What> done;
    while (auto write = next()) {
      EXPECT_LT(done.size(), 10U);
      served_.apply(*write);
      const auto tree = std::get<YamlNode>(parse_json(served_.object.dump()));
      reports.written(*write, &tree, now);
      done.push_back(write->what);
      pass(seconds(2));
    }
    return done;
  }
  void pass(seconds time) {
    now += time;
    wall += time;
  }

  ObjectReports reports;
  ObjectReports::Clock::time_point now{std::chrono::hours(1)};
  ObjectReports::WallClock::time_point wall{seconds(1'800'000'000)};

 private:
  std::string gateway_;
  Served& served_;
};

json accepted_of(const json& conditions) {
  for (const json& condition : conditions) {
    if (condition["type"] == "Accepted") {
      return condition;
    }
  }
  return {};
}

TEST(ObjectReports, NothingIsWrittenWhileNothingIsKnown) {
  Served served;
  Writer writer("east-1", served);
  EXPECT_FALSE(writer.next());
  EXPECT_EQ(writer.reports.objects()->at(kUrl).generation, 3);
}

TEST(ObjectReports, WhatStandsThereIsNotWrittenAgain) {
  Served served;
  Writer writer("east-1", served);
  writer.say(true, "Accepted", "in use", {"east-1"});
  EXPECT_EQ(writer.settle(), (std::vector{What::kEntry, What::kSummary}));
  const json entry = accepted_of(served.object["status"]["gateways"][0]["conditions"]);
  EXPECT_EQ(entry["status"], "True");
  EXPECT_EQ(entry["observedGeneration"], 3);
  EXPECT_EQ(entry["lastTransitionTime"], "2027-01-15T08:00:00Z");
  EXPECT_EQ(accepted_of(served.object["status"]["conditions"])["status"], "True");
  writer.pass(std::chrono::hours(5));
  EXPECT_FALSE(writer.next());
}

TEST(ObjectReports, TheTimeOfAConditionIsThatOfItsStatus) {
  Served served;
  Writer writer("east-1", served);
  const auto time = [&] {
    return accepted_of(served.object["status"]["gateways"][0]["conditions"])["lastTransitionTime"];
  };
  writer.say(true, "Accepted", "in use", {"east-1"});
  writer.settle();
  const json first = time();
  writer.pass(seconds(100));
  writer.say(true, "PartlyRefused", "a prefix is left out", {"east-1"});
  writer.settle();
  EXPECT_EQ(time(), first);
  writer.say(false, "Refused", "the id is taken", {"east-1"});
  writer.settle();
  EXPECT_NE(time(), first);
}

TEST(ObjectReports, TheFirstGatewayWritesForAllAndTheNextWhereItDoesNot) {
  Served served;
  Writer first("east-1", served), second("east-2", served);
  const std::set<std::string> both{"east-1", "east-2"};
  first.say(true, "Accepted", "in use", both);
  second.say(false, "Refused", "the id is taken", both);
  auto entry = first.next();
  ASSERT_TRUE(entry);
  EXPECT_THAT(entry->target, HasSubstr("/clusters/west/status?fieldManager=isthmus-gateway-east-1&force=true"));
  served.apply(*entry);
  second.see();
  EXPECT_EQ(second.settle(), std::vector{What::kEntry});
  second.see();
  second.pass(seconds(2));
  EXPECT_FALSE(second.next());
  second.pass(seconds(3));
  EXPECT_EQ(second.settle(), std::vector{What::kSummary});
  const json summary = accepted_of(served.object["status"]["conditions"]);
  EXPECT_EQ(summary["status"], "False");
  EXPECT_EQ(summary["message"], "gateway east-2: the id is taken");
  first.see();
  EXPECT_EQ(first.settle(), std::vector<What>{});  // it would write the same
}

TEST(ObjectReports, TheEntryOfAGatewayThatIsGoneIsRemovedAfterAWhile) {
  Served served;
  Writer gone("east-0", served), writer("east-1", served);
  gone.say(true, "Accepted", "in use", {"east-0", "east-1"});
  gone.settle();
  writer.see();
  writer.say(true, "Accepted", "in use", {"east-1"});
  writer.settle();
  writer.pass(seconds(55));
  EXPECT_FALSE(writer.next());
  writer.pass(seconds(10));
  const auto write = writer.next();
  ASSERT_TRUE(write);
  EXPECT_EQ(write->what, What::kRemoval);
  EXPECT_THAT(write->target, HasSubstr("fieldManager=isthmus-gateway-east-0"));
  EXPECT_EQ(json::parse(write->body)["status"], json::object());
  writer.settle();
  ASSERT_EQ(served.object["status"]["gateways"].size(), 1U);
  EXPECT_EQ(served.object["status"]["gateways"][0]["name"], "east-1");
}

TEST(ObjectReports, ARightThatIsMissingHoldsUpWhatNeedsIt) {
  Served served;
  Writer writer("east-1", served);
  writer.say(true, "Accepted", "in use", {"east-1"});
  const auto write = writer.next();
  ASSERT_TRUE(write);
  EXPECT_EQ(write->right, "patch on clusters/status of isthmus.io");
  writer.reports.refuse(*write, writer.now + seconds(60));
  writer.pass(seconds(59));
  EXPECT_FALSE(writer.next());
  writer.pass(seconds(1));
  EXPECT_TRUE(writer.next());
}

TEST(ObjectReports, AnotherObjectOfTheNameIsReportedAnew) {
  Served served;
  Writer writer("east-1", served);
  writer.say(true, "Accepted", "in use", {"east-1"});
  writer.settle();
  served.object = {{"metadata", {{"name", "west"}, {"uid", "u2"}, {"generation", 3}}}};
  writer.see();
  const auto write = writer.next();
  ASSERT_TRUE(write);
  EXPECT_EQ(json::parse(write->body)["metadata"]["uid"], "u2");
  writer.reports.erase(kUrl);
  EXPECT_FALSE(writer.next());
  EXPECT_TRUE(writer.reports.objects()->empty());
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
  EXPECT_FALSE(first.next(now + seconds(600), wall));
  EXPECT_TRUE(first.next(now + seconds(3600), wall));  // the server keeps it for an hour
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
  const Served served;
  reports.put({kUrl, "/apis/isthmus.io/v1alpha1/clusters/west", "isthmus.io/v1alpha1", "Cluster", "clusters"},
              {ObjectKind::kCluster, {}, {}, "west"}, std::get<YamlNode>(parse_json(served.object.dump())));
  report.objects.push_back({kUrl, 3, true, "Accepted", "in use"});
  reports.set(std::make_shared<const GatewayReport>(report));
}

TEST_F(PolicyEvents, StatusesDoNotWaitForEvents) {
  ObjectReports reports;
  see_policies(reports, {{"a", "web"}});
  const auto write = reports.next(now, wall);
  ASSERT_TRUE(write);
  EXPECT_EQ(write->what, What::kEntry);
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
    now += std::chrono::minutes(56);
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
