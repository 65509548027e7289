// What is written about objects costs a server little, at every size of a fleet, and comes to all objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/source/kubernetes/reported_objects.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using What = ApiWrite::What;

json condition(const char* status, const char* reason) {
  return {{"type", "Accepted"},    {"status", status},        {"reason", reason},
          {"message", "as it is"}, {"observedGeneration", 3}, {"lastTransitionTime", "2026-01-01T00:00:00Z"}};
}

json entry_of_gone() { return {{"name", "gone"}, {"conditions", json::array({condition("False", "Refused")})}}; }

class ReportsPace : public testing::Test {
 protected:
  void add(unsigned count, const json& status = json::object()) {
    for (unsigned i = 0; i < count; ++i) {
      objects.add("c" + std::to_string(100 + i), status);
    }
  }
  ReportedObjects objects;
};

TEST_F(ReportsPace, AMessageThatChangesAllTheTimeIsWrittenNowAndThen) {
  add(1);
  ReportingGateway gateway("east-1", objects, {"east-1"});
  int said = 0;
  gateway.run(minutes(10), [&] { gateway.say(true, "PartlyRefused", std::to_string(++said / 5) + " addresses"); });
  EXPECT_LE(gateway.writes[What::kEntry], 21);
  EXPECT_LE(gateway.writes[What::kSummary], 21);
  EXPECT_GE(gateway.writes[What::kEntry], 10);
}

TEST_F(ReportsPace, ObjectsThatChangeAllTheTimeHoldUpNoOther) {
  add(12);
  objects.add("z");
  ReportingGateway gateway("east-1", objects, {"east-1"});
  bool odd = false;
  gateway.run(minutes(2), [&] {
    odd = !odd;
    gateway.say_each([&](const std::string& name, ObjectReport& report) {
      report.accepted = odd && name != "z";
      report.reason = report.accepted ? "PartlyRefused" : "Refused";
    });
  });
  EXPECT_FALSE(objects.accepted("z").is_null());
}

TEST_F(ReportsPace, AnEntryThatAnotherManagerOwnsIsRemovedAndHoldsUpNoOther) {
  objects.own_elsewhere("gone");
  add(12, {{"gateways", json::array({entry_of_gone()})}});
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  gateway.run(seconds(50));
  for (const std::string& name : objects.names()) {
    EXPECT_EQ(objects.accepted(name)["status"], "True") << name;  // a gateway that is gone has no say
    EXPECT_EQ(objects.entries(name).size(), 1U) << name;
  }
  gateway.run(minutes(5));
  for (const std::string& name : objects.names()) {
    EXPECT_TRUE(objects.entries(name).empty()) << name;
  }
  EXPECT_EQ(gateway.writes[What::kRemoval], 2 * 12);
}

TEST_F(ReportsPace, ARemovalThatRemovesNothingEnds) {
  add(12, {{"gateways", json::array({entry_of_gone()})}});
  ReportingGateway gateway("east-1", objects, {"east-1"});
  gateway.accept();
  int removals = 0;
  const auto pass = [&](minutes time, milliseconds pace) {
    for (const auto end = gateway.now + time; gateway.now < end; gateway.pass(pace)) {
      const auto write = gateway.next();
      if (write && write->what == What::kRemoval) {
        ++removals;  // the server's answer is that the object is as it was
        const std::string name = write->location.substr(write->location.rfind('/') + 1);
        const auto tree = std::get<YamlNode>(parse_json(objects.object(name).dump()));
        gateway.reports.written(*write, &tree, gateway.now);
      } else {
        (void)gateway.step();
      }
    }
  };
  pass(minutes(10), milliseconds(200));
  EXPECT_LE(removals, 3 * 12);
  pass(minutes(24 * 60), seconds(10));
  EXPECT_LE(removals, 8 * 12);
  objects.add("z");
  gateway.see("z");
  gateway.refuse();
  pass(minutes(1), milliseconds(200));
  EXPECT_EQ(objects.accepted("z")["status"], "False");
}

class ReportingFleet : public ReportsPace {
 protected:
  static constexpr unsigned kGateways = 100;
  ReportingFleet() {
    for (unsigned i = 0; i < kGateways; ++i) {
      names_.insert("east-" + std::to_string(100 + i));
    }
  }
  void start() {
    for (const std::string& name : names_) {
      gateways_.push_back(std::make_unique<ReportingGateway>(name, objects, names_));
    }
  }
  // Each gateway sends what it has to, and hears of what is written a moment later.
  void run(seconds time) {
    constexpr auto kMoment = milliseconds(200);
    for (auto passed = milliseconds(0); passed < time; passed += kMoment) {
      std::set<std::string> written;
      for (const auto& gateway : gateways_) {
        written.insert(gateway->step());
        gateway->pass(kMoment);
      }
      written.erase("");
      for (const std::string& name : written) {
        for (const auto& gateway : gateways_) {
          gateway->see(name);
        }
      }
    }
  }
  int written(What what) const {
    int all = 0;
    for (const auto& gateway : gateways_) {
      all += gateway->writes[what];
    }
    return all;
  }

  std::set<std::string> names_;
  std::vector<std::unique_ptr<ReportingGateway>> gateways_;
};

TEST_F(ReportingFleet, WhatAllAcceptIsWrittenOnceForAll) {
  add(20);
  start();
  for (const auto& gateway : gateways_) {
    gateway->accept();
  }
  run(seconds(200));
  EXPECT_EQ(written(What::kSummary), 20);
  EXPECT_EQ(written(What::kEntry), 0);
  for (const std::string& name : objects.names()) {
    EXPECT_EQ(objects.accepted(name)["status"], "True") << name;
  }
}

TEST_F(ReportingFleet, WhatAllRefuseIsSaidByAFewAndThenNoLonger) {
  add(3);
  start();
  for (const auto& gateway : gateways_) {
    gateway->refuse();
  }
  run(seconds(100));
  for (const std::string& name : objects.names()) {
    EXPECT_EQ(objects.accepted(name)["status"], "False") << name;
    EXPECT_GE(objects.entries(name).size(), 16U) << name;
  }
  EXPECT_LE(written(What::kEntry), 3 * 20);
  for (const auto& gateway : gateways_) {
    gateway->accept();
  }
  run(seconds(100));
  for (const std::string& name : objects.names()) {
    EXPECT_EQ(objects.accepted(name)["status"], "True") << name;
    EXPECT_TRUE(objects.entries(name).empty()) << name;
  }
}

TEST_F(ReportingFleet, TheNextWritesWhatTheFirstDoesNot) {
  add(4);
  start();
  for (const auto& gateway : gateways_) {
    gateway->accept();
  }
  // All are away but for one.
  gateways_.erase(gateways_.begin() + 1, gateways_.end());
  run(seconds(160));
  EXPECT_EQ(written(What::kSummary), 4);
}

}  // namespace
}  // namespace isthmus
