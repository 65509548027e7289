#include "control/doctor/checks.h"

#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

TEST(Doctor, OfAGoodMachineEveryCheckSaysThatAllIsWell) {
  std::set<std::string> seen;
  for (const Finding& finding : examine(good_machine())) {
    EXPECT_EQ(finding.level, Level::kOk) << finding.check << ": " << finding.found << "; " << finding.why;
    EXPECT_FALSE(finding.found.empty()) << finding.check;
    seen.insert(finding.check);
  }
  std::set<std::string> all;
  for (const DoctorCheck& check : doctor_checks()) {
    all.insert(std::string(check.name));
  }
  EXPECT_EQ(seen, all);
}

// What was not seen at all is no reason to end.
TEST(Doctor, WithoutAnyFactsItSaysWhatItDidNotSee) {
  Facts facts;
  facts.now = kNow;
  for (const Finding& finding : examine(facts)) {
    EXPECT_NE(finding.level, Level::kFails) << finding.check << ": " << finding.found;
  }
  facts.config = good_machine().config;
  EXPECT_FALSE(examine(facts).empty());
}

TEST(Doctor, WithoutAConfigurationOnlyTheMachineIsExamined) {
  Facts facts = good_machine();
  facts.config.reset();
  std::set<std::string> seen;
  for (const Finding& finding : examine(facts)) {
    seen.insert(finding.check);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"configuration", "kernel", "bpf-file-system", "capabilities", "memlock",
                                         "service", "clock"}));
}

}  // namespace
}  // namespace isthmus::test
