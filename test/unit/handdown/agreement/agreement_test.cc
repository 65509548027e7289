// Workers, the hand-down thread, the kernel programs and control agree, all at work at the same time: XDP forwards by
// no decision that has been withdrawn, every packet is counted once, and all is given back. Shown by order and count.
#include <gtest/gtest.h>

#include "test/unit/handdown/agreement/agreement_rig.h"

namespace isthmus::test {
namespace {

constexpr unsigned kTurns = 80, kLeastRepeats = 3, kMostRepeats = 200;

class Agreement : public ::testing::TestWithParam<bool> {};

// Whether everything that the test is about has happened. The engine's own thread looks once a second, by when hardly
// anything is left that only makes room.
bool all_happened(const EngineCounters& counts, const AgreementRig& rig, bool threads_of_the_engine) {
  return (counts.taken_back_cold != 0 || threads_of_the_engine) &&
         counts.taken_back_ending + counts.taken_back_removed != 0 && counts.taken_back_redecided != 0 &&
         counts.taken_back_moved != 0 && rig.forwarded() > 1000 && rig.resets() > 10;
}

TEST_P(Agreement, OfAllThreadsThatHaveToDoWithWhatIsHandedDown) {
  AgreementRig rig(GetParam());
  rig.open_all();
  ASSERT_EQ(rig.wrong_counts(), "");
  unsigned repeats = 0;
  do {
    rig.work(kTurns);
    ASSERT_EQ(rig.violation(), "");
    ASSERT_EQ(rig.wrong_counts(), "") << "after " << repeats << " repeats";
    ASSERT_LT(++repeats, kMostRepeats);
  } while ((repeats < kLeastRepeats || !all_happened(rig.counters(), rig, GetParam())) && !HasFailure());
  EXPECT_GT(rig.checked_runs(), 1000u);
  rig.take_all_back();
  EXPECT_EQ(rig.wrong_counts(), "") << "when all has been taken back";
  rig.stop();
  EXPECT_EQ(rig.left_in_maps(), "");
}

INSTANTIATE_TEST_SUITE_P(Threads, Agreement, ::testing::Bool(), [](const ::testing::TestParamInfo<bool>& test) {
  return test.param ? "OfTheEngine" : "DrivenWithoutAPause";
});

}  // namespace
}  // namespace isthmus::test
