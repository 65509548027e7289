#include "control/policy/selectors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

PeerSelector by_app(const std::string& value) {
  return {{LabelSelector{{{"k8s", "app", LabelOperator::kIn, {value}}}}}, {}};
}

class Selectors : public testing::Test {
 protected:
  SelectorId acquire(const std::string& app) { return table.acquire(by_app(app), identities, cidrs); }
  TableDelta take() {
    TableDelta delta;
    changed.clear();
    table.take_changes(delta, changed);
    return delta;
  }
  void set(std::uint32_t number, const std::string& app) {
    identities.set(Identity{number}, {{{"app", "k8s", app}}, true, false, std::nullopt});
    table.identity_changed(Identity{number}, identities.find(Identity{number}));
  }
  IdentityIndex identities;
  CidrTable cidrs;
  SelectorTable table;
  std::set<SelectorId> changed;
};

// So many that numbers given back in an update come into use again in it.
TEST_F(Selectors, ANumberThatIsAnothersWithinOneUpdateHasChanged) {
  constexpr int kMany = 5000;
  set(1000, "a");
  std::vector<SelectorId> before;
  for (int i = 0; i < kMany; ++i) {
    before.push_back(acquire("before-" + std::to_string(i)));
  }
  (void)take();
  for (const SelectorId id : before) {
    table.release(id);
  }
  const SelectorId again = acquire("a");
  ASSERT_EQ(again, before.front());
  const TableDelta delta = take();
  EXPECT_THAT(changed, ElementsAre(again)) << "who used it needs a new decision";
  ASSERT_EQ(delta.upsert_selectors.size(), 1U);
  EXPECT_THAT(*delta.upsert_selectors.front().identities, ElementsAre(Identity{1000}));
  EXPECT_EQ(delta.remove_selectors.size(), before.size() - 1);
}

TEST_F(Selectors, AWatchedOneTellsWhatEntersAndLeaves) {
  set(1000, "a");
  const SelectorId a = acquire("a"), b = acquire("b");
  table.watch(a, true);
  table.watch(a, true);
  set(1001, "a");
  set(1000, "b");
  EXPECT_THAT(table.take_moves(), UnorderedElementsAre(std::pair(a, Identity{1000}), std::pair(a, Identity{1001})));
  table.watch(a, false);
  set(1002, "a");
  EXPECT_THAT(table.take_moves(), UnorderedElementsAre(std::pair(a, Identity{1002})));
  table.watch(a, false);
  set(1003, "a");
  EXPECT_THAT(table.take_moves(), IsEmpty());
  EXPECT_THAT(*table.members(b), ElementsAre(Identity{1000}));
}

TEST_F(Selectors, AListHasTheMembersThatItsUserSets) {
  const SelectorId list = table.acquire_list();
  table.set_member(list, Identity{7}, true);
  table.set_member(list, Identity{3}, true);
  table.set_member(list, Identity{3}, true);
  const TableDelta first = take();
  table.set_member(list, Identity{7}, false);
  const TableDelta second = take();
  EXPECT_THAT(changed, ElementsAre(list));
  EXPECT_THAT(*first.upsert_selectors.at(0).identities, ElementsAre(Identity{3}, Identity{7}))
      << "published: immutable";
  EXPECT_THAT(*second.upsert_selectors.at(0).identities, ElementsAre(Identity{3}));
  table.set_member(list, Identity{7}, false);
  EXPECT_THAT(take().upsert_selectors, IsEmpty());
  table.release(list);
  EXPECT_THAT(take().remove_selectors, ElementsAre(list));
}

}  // namespace
}  // namespace isthmus
