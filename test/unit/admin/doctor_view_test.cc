#include "control/cli/doctor_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace isthmus::test {
namespace {

std::vector<Finding> one_of_each() {
  return {{FindingLevel::kOk, "kernel", "Linux 6.12", "", ""},
          {FindingLevel::kNote, "clock", "not in step", "dates", "chrony"},
          {FindingLevel::kFails, "hub", "folder \x1b[31m\xff", "nothing is known", "make it"},
          {FindingLevel::kSlow, "mtu", "9000 bytes", "they are lost", "3776"}};
}

TEST(DoctorView, TheTextHasTheWorstFirstAndWhatIsWellOnRequestOnly) {
  const std::string text = findings_text(one_of_each(), false);
  EXPECT_LT(text.find("fails  hub"), text.find("slow   mtu"));
  EXPECT_LT(text.find("slow   mtu"), text.find("note   clock"));
  EXPECT_NE(text.find("why: they are lost\n"), std::string::npos);
  EXPECT_NE(text.find("fix: 3776\n"), std::string::npos);
  EXPECT_EQ(text.find("Linux"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("1 fail, 1 slow, 1 to note, 1 ok"), std::string::npos);
  EXPECT_NE(findings_text(one_of_each(), true).find("ok     kernel            Linux 6.12\n"), std::string::npos);
}

TEST(DoctorView, JsonHasEveryFindingInOrderAndTheCounts) {
  const auto tree = nlohmann::json::parse(findings_json(one_of_each()));
  ASSERT_EQ(tree["findings"].size(), 4U);
  EXPECT_EQ(
      tree["findings"][3],
      (nlohmann::json{
          {"check", "mtu"}, {"level", "slow"}, {"found", "9000 bytes"}, {"why", "they are lost"}, {"fix", "3776"}}));
  for (const char* level : {"fails", "slow", "note", "ok"}) {
    EXPECT_EQ(tree[level], 1) << level;
  }
}

TEST(DoctorView, OnlyWhatFailsCountsAsFailure) {
  auto findings = one_of_each();
  EXPECT_TRUE(any_fails(findings));
  findings.erase(findings.begin() + 2);
  EXPECT_FALSE(any_fails(findings));
  EXPECT_FALSE(any_fails({}));
}

}  // namespace
}  // namespace isthmus::test
