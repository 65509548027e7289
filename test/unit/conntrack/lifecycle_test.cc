#include "dataplane/conntrack/lifecycle.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isthmus {
namespace {

using namespace tcp_flag;
constexpr FlowTimeouts kTimeouts;
constexpr Direction F = Direction::kForward;
constexpr Direction R = Direction::kReply;

struct Packet {
  Direction direction;
  std::uint32_t at;
  std::uint8_t flags;
};

struct Row {
  const char* what;
  std::vector<Packet> packets;
  std::uint32_t asked_at;
  std::uint32_t left;
  bool closing;
};

void start(Connection& c, IpProtocol protocol, std::uint32_t at) {
  for (DirectionLine& line : c.lines) {
    line.key.protocol = protocol;
    line.seen = at << 8;
  }
}

TEST(Lifecycle, TcpFollowsCiliumsTimers) {
  const std::vector<Row> rows = {
      {"SYN only", {{F, 100, kSyn}}, 130, 30, false},
      {"another SYN extends", {{F, 100, kSyn}, {F, 130, kSyn}}, 150, 40, false},
      {"SYN and SYN-ACK are both SYN-only", {{F, 100, kSyn}, {R, 100, kSyn | kAck}}, 100, 60, false},
      {"the first ACK establishes", {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 101, kAck}}, 101, 8000, false},
      {"mid-stream, one direction seen", {{F, 100, kAck}}, 100, 60, false},
      {"mid-stream, both directions seen", {{F, 100, kAck}, {R, 101, kAck}}, 101, 8000, false},
      {"the more recent direction counts", {{F, 100, kAck}, {R, 500, kAck}}, 600, 7900, false},
      {"one FIN changes nothing", {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 110, kFin | kAck}}, 110, 8000, false},
      {"two FINs close",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 110, kFin | kAck}, {R, 111, kFin | kAck}},
       111,
       10,
       true},
      {"packets do not extend a closing connection",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 110, kFin | kAck}, {R, 111, kFin | kAck}, {F, 116, kAck}},
       116,
       5,
       true},
      {"a repeated FIN does not extend", {{F, 110, kFin}, {R, 111, kFin}, {R, 115, kFin}}, 115, 6, true},
      {"connection refused: RST before both SYNs closes", {{F, 100, kSyn}, {R, 100, kRst | kAck}}, 101, 9, true},
      {"RST in mid-stream without SYNs closes", {{F, 100, kAck}, {R, 101, kAck}, {F, 102, kRst}}, 102, 10, true},
      {"RST of an established connection shortens to the SYN timeout",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 101, kAck}, {R, 200, kRst}},
       210,
       50,
       false},
      {"traffic after a forged RST keeps it alive",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 101, kAck}, {R, 200, kRst}, {F, 250, kAck}},
       250,
       60,
       false},
      {"RST of both ends closes",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {R, 200, kRst}, {F, 201, kRst}},
       201,
       10,
       true},
      {"FIN answered by RST closes",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 200, kFin}, {R, 201, kRst}},
       201,
       10,
       true},
      {"expired", {{F, 100, kSyn}}, 160, 0, false},
      {"long expired", {{F, 100, kSyn}}, 100'000, 0, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Connection c;
    start(c, IpProtocol::kTcp, row.packets.front().at);
    for (const Packet& p : row.packets) {
      lifecycle::record(c, p.direction, Seconds{p.at}, lifecycle::marks_of(IpProtocol::kTcp, p.flags));
    }
    EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{row.asked_at}), row.left);
    EXPECT_EQ(c.closing(), row.closing);
  }
}

TEST(Lifecycle, OtherProtocolsLiveAMinuteAfterTheLastPacketOfEitherDirection) {
  for (const IpProtocol protocol : {IpProtocol::kUdp, IpProtocol::kIcmp, IpProtocol::kIcmpv6}) {
    Connection c;
    start(c, protocol, 100);
    lifecycle::record(c, F, Seconds{100}, lifecycle::marks_of(protocol, 0));
    lifecycle::record(c, R, Seconds{130}, lifecycle::marks_of(protocol, 0));
    EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{140}), 50u);
    EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{190}), 0u);
  }
}

TEST(Lifecycle, ReportsTheFirstPacketOfADirectionOnce) {
  Connection c;
  start(c, IpProtocol::kUdp, 5);
  EXPECT_TRUE(lifecycle::record(c, F, Seconds{5}, mark::kSeen));
  EXPECT_FALSE(lifecycle::record(c, F, Seconds{5}, mark::kSeen));
  EXPECT_FALSE(lifecycle::record(c, F, Seconds{6}, mark::kSeen));
  EXPECT_TRUE(lifecycle::record(c, R, Seconds{6}, mark::kSeen));
}

TEST(Lifecycle, SlowerClockOfAnotherWorkerNeitherAgesNorRewinds) {
  Connection c;
  start(c, IpProtocol::kUdp, 100);
  lifecycle::record(c, F, Seconds{100}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{99}), 60u) << "a packet from the future is not 194 days old";
  lifecycle::record(c, F, Seconds{99}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{100}), 60u);
}

TEST(Lifecycle, The24BitClockWraps) {
  const std::uint32_t wrap = 1u << 24;
  Connection c;
  start(c, IpProtocol::kUdp, wrap - 5);
  lifecycle::record(c, F, Seconds{wrap - 5}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{wrap + 5}), 50u);
  lifecycle::record(c, F, Seconds{wrap + 5}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{wrap + 5}), 60u);
  EXPECT_EQ(lifecycle::idle(c, Seconds{wrap + 8}), 3u);
}

TEST(Lifecycle, TimeoutsAreOptions) {
  Connection c;
  start(c, IpProtocol::kUdp, 10);
  EXPECT_EQ(lifecycle::expires_in(c, {.other = Seconds{7}}, Seconds{12}), 5u);
}

}  // namespace
}  // namespace isthmus
