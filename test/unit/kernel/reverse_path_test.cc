#include "control/kernel/reverse_path.h"

#include <string>

#include "control/kernel/sysctl.h"
#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

struct Row {
  const char *all, *own;
  bool loosened;
  const char* own_after;
};
constexpr Row kRows[] = {
    {"0", "0", false, "0"}, {"0", "1", true, "2"},  {"1", "0", true, "2"},
    {"1", "1", true, "2"},  {"2", "1", false, "1"}, {"1", "2", false, "2"},
};

class ReversePathTest : public KernelTest {};

TEST_F(ReversePathTest, TheCommandLoosensTheFilterOfAnInterfaceWithADotInItsName) {
  for (const char* name : {"under0", "under0.100"}) {
    sh(std::string("ip link add ") + name + " type veth peer name far");
    ASSERT_TRUE(write_sysctl(std::string("ipv4/conf/") + name + "/rp_filter", "1"));
    sh(loosen_reverse_path_command(name) + " > /dev/null");
    EXPECT_EQ(read_sysctl(std::string("ipv4/conf/") + name + "/rp_filter"), "2") << name;
    sh(std::string("ip link del ") + name);
  }
}

TEST_F(ReversePathTest, AStrictFilterIsLoosenedAndAnyOtherLeftAlone) {
  sh("ip link add under0 type veth peer name under0-x");
  for (const Row& row : kRows) {
    SCOPED_TRACE(std::string("all ") + row.all + ", own " + row.own);
    ASSERT_TRUE(write_sysctl("ipv4/conf/all/rp_filter", row.all));
    ASSERT_TRUE(write_sysctl("ipv4/conf/under0/rp_filter", row.own));
    const auto loosened = loosen_reverse_path("under0");
    ASSERT_TRUE(loosened) << loosened.error().text();
    EXPECT_EQ(*loosened, row.loosened);
    EXPECT_EQ(read_sysctl("ipv4/conf/under0/rp_filter"), row.own_after);
    EXPECT_EQ(read_sysctl("ipv4/conf/all/rp_filter"), row.all);
  }
}

}  // namespace
}  // namespace isthmus::test
