// Several packets of one connection in one burst come to the same as one after the other.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
constexpr std::uint8_t kEnd = kFin | kAck;

// What is left of the connections, as the listing shows it.
std::string left(const PathRig& rig) {
  std::string text;
  for (const FlowRecord& flow : rig.flows()) {
    text += std::to_string(flow.forward_packets) + " and " + std::to_string(flow.reply_packets) + " packets, " +
            (flow.closing ? "closing, " : "") + std::to_string(flow.expires_in_seconds) + " s\n";
  }
  return text;
}

struct BurstRow {
  const char* name;
  std::vector<std::uint8_t> flags;  // of the client's packets
};
void PrintTo(const BurstRow& row, std::ostream* out) { *out << row.name; }

class Burst : public testing::TestWithParam<BurstRow> {};

TEST_P(Burst, IsTheSameAsOneByOne) {
  for (const bool service : {true, false}) {
    const Endpoint& to = service ? at.remote_service : at.west;
    PathRig one, all;
    std::uint64_t sent_by_one = 0;
    for (const std::uint8_t flags : GetParam().flags) {
      sent_by_one += one.from_local(tcp(at.client, to, flags)).out.size();
      ASSERT_TRUE(all.local().inject(tcp(at.client, to, flags).bytes()));
    }
    const Outcome burst = all.idle();
    EXPECT_EQ(burst.out.size(), sent_by_one);
    EXPECT_EQ(left(all), left(one)) << "after the burst";
    for (PathRig* rig : {&one, &all}) {  // the server ends it too
      for (const std::uint8_t flags : {kAck, kEnd}) {
        (void)rig->from_underlay(tcp(at.west, at.client, flags).in_tunnel(at.west_gateway, at.gateway, kWestIdentity));
      }
    }
    EXPECT_EQ(left(all), left(one)) << "in the end";
    EXPECT_EQ(all.counters().revalidations, one.counters().revalidations);
    EXPECT_EQ(all.counters().connections.created, one.counters().connections.created);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Burst,
                         testing::Values(BurstRow{"SynSyn", {kSyn, kSyn}}, BurstRow{"SynAck", {kSyn, kAck}},
                                         BurstRow{"SynRst", {kSyn, kRst}}, BurstRow{"AckFin", {kAck, kEnd}},
                                         BurstRow{"AckRst", {kAck, kRst | kAck}},
                                         BurstRow{"AckFinFin", {kAck, kEnd, kEnd}},
                                         BurstRow{"SynAckAckFin", {kSyn, kAck, kAck, kEnd}}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace isthmus::test
