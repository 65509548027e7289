// DSR, where several packets of one connection are in one burst: it comes to the same as one after the other.
#include "test/unit/dataplane/dsr_rig.h"

namespace isthmus::test {
namespace {

// What a burst is made of, by letters. o, p: the client's packet, by its balancer, with the option for one VIP or
// another; q: the same without an option; d: a datagram with the option, e: one of the client itself.
struct BurstRow {
  const char* packets;
  bool client_of_balancer;  // the client is of the balancer's cluster, else a client of the world
};
void PrintTo(const BurstRow& row, std::ostream* out) { *out << row.packets; }

class DsrBursts : public Dsr, public testing::WithParamInterface<BurstRow> {
 protected:
  [[nodiscard]] Endpoint client() const { return GetParam().client_of_balancer ? rig_.at.west : client_; }
  [[nodiscard]] PacketSpec packet(char letter) const {
    const Endpoint from = client();
    switch (letter) {
      case 'o':
        return balanced(tcp(from, backend_), vip_);
      case 'p':
        return balanced(tcp(from, backend_), other_vip_);
      case 'q':
        return plain(tcp(from, backend_, kAck));
      case 'r':
        return plain(tcp(from, backend_, kRst));
      case 'd':
        return balanced(udp(from, backend_), vip_);
      default:
        return plain(udp(from, backend_));
    }
  }
  // By whose name the backend answers afterwards; "" if nothing is sent.
  [[nodiscard]] std::string name(PathRig& rig) const {
    std::string text;
    for (const PacketSpec& answer : {tcp(backend_, client(), kSyn | kAck), udp(backend_, client())}) {
      const Outcome outcome = rig.from_local(answer);
      text += outcome.out.empty() ? "nothing " : outcome.only().packet.source.to_string() + " ";
    }
    return text;
  }
};

class Surroundings : public Dsr {
 public:
  PathRig& rig() { return rig_; }
  void TestBody() override {}
};

TEST_P(DsrBursts, AreTheSameAsOneByOne) {
  Surroundings one;
  std::size_t delivered = 0;
  std::map<std::string, std::uint64_t> drops;
  for (const char* letter = GetParam().packets; *letter != 0; ++letter) {
    const Outcome outcome = one.rig().from_underlay(packet(*letter));
    delivered += outcome.out.size();
    for (const auto& [reason, count] : outcome.drops) {
      drops[reason] += count;
    }
    ASSERT_TRUE(rig_.underlay().inject(packet(*letter).bytes()));
  }
  const Outcome burst = rig_.idle();
  EXPECT_EQ(burst.out.size(), delivered);
  EXPECT_EQ(burst.drops, drops);
  EXPECT_EQ(rig_.flows().size(), one.rig().flows().size());
  EXPECT_EQ(name(rig_), name(one.rig()));
  EXPECT_EQ(rig_.flows().size(), one.rig().flows().size());
}

INSTANTIATE_TEST_SUITE_P(Of, DsrBursts,
                         testing::Values(BurstRow{"oo", false}, BurstRow{"op", false}, BurstRow{"po", true},
                                         BurstRow{"oq", false}, BurstRow{"qo", true}, BurstRow{"oqp", true},
                                         BurstRow{"or", false}, BurstRow{"orp", true}, BurstRow{"opo", false},
                                         BurstRow{"dd", false}, BurstRow{"de", true}, BurstRow{"ed", true},
                                         BurstRow{"ded", true}, BurstRow{"odqe", true}, BurstRow{"oooooooq", false}),
                         [](const auto& row) {
                           return std::string(row.param.packets) + (row.param.client_of_balancer ? "OfWest" : "");
                         });

}  // namespace
}  // namespace isthmus::test
