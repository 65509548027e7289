// What a source writes about objects, at a server that fails in one way or another: it comes to be written, what does
// not pass is a problem, and one object holds up no other.
#include "control/source/kubernetes/api_writer.h"

#include <gmock/gmock.h>

#include <memory>
#include <string>

#include "test/unit/source/kubernetes/kubernetes_source_fixture.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr auto kOwnClusters = "/apis/isthmus.io/v1alpha1/clusters";

class ApiWriterTest : public KubernetesSourceTest {
 protected:
  void SetUp() override {
    server.serve(kOwnClusters, "Cluster", "isthmus.io/v1alpha1");
    for (const auto& [name, id] : {std::pair{"north", 3}, std::pair{"west", 2}}) {
      server.serve_status(kOwnClusters, name);
      server.put(kOwnClusters, {{"metadata", {{"name", name}, {"uid", std::string("uid-") + name}, {"generation", 1}}},
                                {"spec", {{"id", id}, {"podCIDRs", {"10." + std::to_string(id) + ".0.0/16"}}}}});
    }
    start_and_sync();
  }
  static std::string status_of(const std::string& name) { return std::string(kOwnClusters) + "/" + name + "/status"; }
  // This gateway's report, of both clusters.
  void report(bool accepted = true) {
    auto said = std::make_shared<GatewayReport>();
    said->gateway = "east-1";
    said->gateways = {"east-1"};
    for (const char* name : {"north", "west"}) {
      const ObjectKey key{ObjectKind::kCluster, {}, {}, name};
      ASSERT_TRUE(hub->locations.contains(key)) << name;
      said->objects.push_back({hub->locations.at(key), 1, accepted, accepted ? "Accepted" : "Refused", "as it is"});
    }
    source->report(said);
  }
  // The same, of no object.
  void report_nothing() {
    auto said = std::make_shared<GatewayReport>();
    said->gateway = "east-1";
    said->gateways = {"east-1"};
    source->report(said);
  }
  void fail_at(const std::string& name, unsigned status, unsigned times, const std::string& retry_after = "",
               const std::string& message = "as it was injected") {
    for (unsigned i = 0; i < times; ++i) {
      InjectedFault fault;
      fault.status = status;
      fault.retry_after = retry_after;
      fault.message = message;
      server.inject(status_of(name), fault);
    }
  }
  void close_at(const std::string& name, unsigned times) {
    for (unsigned i = 0; i < times; ++i) {
      InjectedFault fault;
      fault.close = true;
      server.inject(status_of(name), fault);
    }
  }
  nlohmann::json list_of(const std::string& name, const char* list) const {
    const nlohmann::json status = server.object(kOwnClusters, "", name).value("status", nlohmann::json::object());
    return status.value(list, nlohmann::json::array());
  }
  bool written(const std::string& name) const { return !list_of(name, "conditions").empty(); }
  bool until_written(const std::string& name) {
    return hub->until([&] { return written(name); });
  }
  std::string problems() const {
    std::string texts;
    for (const SourceProblem& problem : source->problems()) {
      texts += problem.what + "; " + problem.fix + "\n";
    }
    return texts;
  }
};

TEST_F(ApiWriterTest, WritesItsEntryAndTheSummaryAndThenNothingMore) {
  report(false);
  ASSERT_TRUE(until_written("north") && until_written("west"));
  const nlohmann::json status = server.object(kOwnClusters, "", "west")["status"];
  EXPECT_EQ(status["gateways"][0]["name"], "east-1");
  EXPECT_EQ(status["conditions"][0]["status"], "False");
  const std::size_t requests = server.count(status_of("west"), "fieldManager");
  report(false);
  // Once another object has had its turn.
  fail_at("north", 409, 1);
  server.put(kOwnClusters, {{"metadata", {{"name", "north"}, {"uid", "another"}, {"generation", 1}}},
                            {"spec", {{"id", 3}, {"podCIDRs", {"10.3.0.0/16"}}}}});
  ASSERT_TRUE(hub->until([&] { return !written("north"); }));
  ASSERT_TRUE(until_written("north"));
  EXPECT_EQ(server.count(status_of("west"), "fieldManager"), requests);
}

TEST_F(ApiWriterTest, WaitsWhenItIsTold) {
  fail_at("north", 429, 1, "1");
  report();
  ASSERT_TRUE(until_written("north") && until_written("west"));
  EXPECT_EQ(problems(), "");
}

TEST_F(ApiWriterTest, AnObjectThatWasWrittenMeanwhileIsWrittenAfterwards) {
  fail_at("west", 409, 1);
  report();
  ASSERT_TRUE(until_written("west"));
  EXPECT_EQ(problems(), "");
}

TEST_F(ApiWriterTest, AnAnswerThatDoesNotComeIsAwaitedAnew) {
  close_at("north", 1);
  report();
  ASSERT_TRUE(until_written("north") && until_written("west"));
  EXPECT_EQ(problems(), "");
}

TEST_F(ApiWriterTest, AnObjectThatTheServerFailsAtHoldsUpNoOtherAndIsListedUntilItPasses) {
  fail_at("north", 500, 1000);
  report();
  ASSERT_TRUE(until_written("west"));
  ASSERT_TRUE(hub->until([&] { return problems().find("HTTP 500") != std::string::npos; })) << problems();
  EXPECT_THAT(problems(), HasSubstr("admission webhook"));
  server.end_faults(status_of("north"));
  ASSERT_TRUE(until_written("north"));
  ASSERT_TRUE(hub->until([&] { return problems().empty(); })) << problems();
}

TEST_F(ApiWriterTest, AnObjectAboutWhichNoAnswerComesHoldsUpNoOtherAndIsListedUntilOneDoes) {
  close_at("north", 2000);
  report();
  ASSERT_TRUE(until_written("west")) << problems();
  ASSERT_TRUE(hub->until([&] { return problems().find("makes of Cluster north cannot") != std::string::npos; }));
  server.end_faults(status_of("north"));
  ASSERT_TRUE(until_written("north"));
  ASSERT_TRUE(hub->until([&] { return problems().empty(); })) << problems();
}

TEST_F(ApiWriterTest, AnObjectThatTheServerPutsOffHoldsUpNoOtherAndIsListed) {
  fail_at("north", 429, 2000);
  report();
  ASSERT_TRUE(until_written("west")) << problems();
  ASSERT_TRUE(hub->until([&] { return problems().find("HTTP 429") != std::string::npos; })) << problems();
}

TEST_F(ApiWriterTest, AnObjectAtWhichCredentialsFailHoldsUpNoOther) {
  fail_at("north", 401, 2000);
  report();
  EXPECT_TRUE(until_written("west")) << problems();
}

TEST_F(ApiWriterTest, AnObjectThatIsForbiddenHoldsUpNoOther) {
  server.forbid(status_of("north"), true);
  report();
  EXPECT_TRUE(until_written("west")) << problems();
}

TEST_F(ApiWriterTest, WhatAdmissionForbidsIsListedWithoutARight) {
  fail_at("north", 403, 2000, "", "ValidatingAdmissionPolicy 'a' denied request: this cannot be changed");
  report();
  ASSERT_TRUE(until_written("west")) << problems();
  ASSERT_TRUE(hub->until([&] { return !problems().empty(); }));
  EXPECT_THAT(problems(), HasSubstr("admission policies"));
  EXPECT_THAT(problems(), testing::Not(HasSubstr("grant")));
}

// It is none of the object, of which there is a report at its own place.
TEST_F(ApiWriterTest, WhatCannotBeWrittenIsAProblemOfTheServer) {
  fail_at("north", 422, 2000);
  report();
  ASSERT_TRUE(hub->until([&] { return !problems().empty(); }));
  EXPECT_EQ(source->problems()[0].provenance.text(), server.url());
  EXPECT_THAT(problems(), HasSubstr("makes of Cluster north cannot be written: HTTP 422"));
}

TEST_F(ApiWriterTest, AProblemOfWhatIsNoLongerToBeWrittenEnds) {
  fail_at("north", 422, 2000);
  report();
  ASSERT_TRUE(hub->until([&] { return problems().find("422") != std::string::npos; })) << problems();
  report_nothing();
  EXPECT_TRUE(hub->until([&] { return problems().empty(); })) << problems();
}

TEST_F(ApiWriterTest, AMissingRightThatNothingNeedsAnyMoreIsNoProblem) {
  server.forbid(status_of("north"), true);
  server.forbid(status_of("west"), true);
  report();
  ASSERT_TRUE(hub->until([&] { return !problems().empty(); }));
  report_nothing();
  EXPECT_TRUE(hub->until([&] { return problems().empty(); })) << problems();
}

TEST_F(ApiWriterTest, AMissingRightIsListedByNameUntilItIsGiven) {
  server.forbid(status_of("north"), true);
  server.forbid(status_of("west"), true);
  report();
  ASSERT_TRUE(hub->until([&] { return !problems().empty(); }));
  EXPECT_THAT(problems(), HasSubstr("grant patch on clusters/status of isthmus.io"));
  server.forbid(status_of("north"), false);
  server.forbid(status_of("west"), false);
  ASSERT_TRUE(until_written("north") && until_written("west"));
  ASSERT_TRUE(hub->until([&] { return problems().empty(); })) << problems();
}

TEST_F(ApiWriterTest, AKindWithoutAStatusIsListed) {
  fail_at("west", 404, 1000);
  report();
  ASSERT_TRUE(until_written("north"));
  ASSERT_TRUE(hub->until([&] { return !problems().empty(); }));
  EXPECT_THAT(problems(), HasSubstr("custom resource definitions of this version"));
}

TEST_F(ApiWriterTest, AChangedMindIsWritten) {
  const auto until = [&](const char* status, std::size_t entries) {
    return hub->until([&, status, entries] {
      return written("west") && list_of("west", "conditions")[0]["status"] == status &&
             list_of("west", "gateways").size() == entries;
    });
  };
  report();
  ASSERT_TRUE(until("True", 0));
  report(false);
  ASSERT_TRUE(until("False", 1));
  report();
  EXPECT_TRUE(until("True", 0));
}

}  // namespace
}  // namespace isthmus
