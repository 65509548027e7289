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

// As FlowTable does.
void record(Connection& c, Direction direction, Seconds now, std::uint8_t marks) {
  const std::uint8_t fresh = lifecycle::record(c, direction, now, marks);
  if (fresh != 0 && lifecycle::opens(c, direction, marks, fresh)) {
    c.shared.state |= ConnectionShared::kOpened;
  }
}

TEST(Lifecycle, TcpFollowsCiliumsTimers) {
  const std::vector<Row> rows = {
      {"SYN only", {{F, 100, kSyn}}, 120, 10, false},
      {"another SYN extends", {{F, 100, kSyn}, {F, 120, kSyn}}, 130, 20, false},
      {"SYN and SYN-ACK are both SYN-only", {{F, 100, kSyn}, {R, 100, kSyn | kAck}}, 100, 30, false},
      {"RST for a SYN-ACK not asked for closes", {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 100, kRst}}, 101, 9, true},
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
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 101, kAck}, {R, 200, kRst}, {F, 201, kRst}},
       201,
       10,
       true},
      {"FIN answered by RST closes",
       {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 200, kFin}, {R, 201, kRst}},
       201,
       10,
       true},
      {"expired", {{F, 100, kSyn}}, 130, 0, false},
      {"long expired", {{F, 100, kSyn}}, 100'000, 0, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Connection c;
    start(c, IpProtocol::kTcp, row.packets.front().at);
    for (const Packet& p : row.packets) {
      record(c, p.direction, Seconds{p.at}, lifecycle::marks_of(IpProtocol::kTcp, p.flags));
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

TEST(Lifecycle, OtherProtocolsLiveHalfAMinuteWithoutAReply) {
  Connection c;
  start(c, IpProtocol::kUdp, 100);
  record(c, F, Seconds{100}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{110}), 20u);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{130}), 0u);
}

TEST(Lifecycle, AConnectionIsHalfOpenUntilItsInitiatorHasAcknowledged) {
  struct Opening {
    const char* what;
    IpProtocol protocol;
    std::vector<Packet> packets;
    bool opened;
  };
  const std::vector<Opening> rows = {
      {"SYN", IpProtocol::kTcp, {{F, 100, kSyn}}, false},
      {"SYN-ACK", IpProtocol::kTcp, {{F, 100, kSyn}, {R, 100, kSyn | kAck}}, false},
      {"SYN again", IpProtocol::kTcp, {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 101, kSyn}}, false},
      {"ACK", IpProtocol::kTcp, {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 100, kAck}}, true},
      {"RST", IpProtocol::kTcp, {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {F, 100, kRst}}, false},
      {"ACK before the SYN-ACK", IpProtocol::kTcp, {{F, 100, kSyn}, {F, 100, kAck}, {R, 100, kSyn | kAck}}, false},
      {"refused", IpProtocol::kTcp, {{F, 100, kSyn}, {R, 100, kRst | kAck}}, false},
      {"stray ACK", IpProtocol::kTcp, {{F, 100, kAck}, {R, 100, kRst}}, false},
      {"picked up in mid-stream", IpProtocol::kTcp, {{F, 100, kAck}, {R, 100, kAck}}, true},
      {"the ACK took another way", IpProtocol::kTcp, {{F, 100, kSyn}, {R, 100, kSyn | kAck}, {R, 101, kAck}}, true},
      {"datagram", IpProtocol::kUdp, {{F, 100, 0}, {F, 101, 0}}, false},
      {"its reply", IpProtocol::kUdp, {{F, 100, 0}, {R, 101, 0}}, true},
      {"echo reply", IpProtocol::kIcmp, {{F, 100, 0}, {R, 101, 0}}, true},
  };
  for (const Opening& row : rows) {
    SCOPED_TRACE(row.what);
    Connection c;
    start(c, row.protocol, 100);
    for (const Packet& p : row.packets) {
      record(c, p.direction, Seconds{p.at}, lifecycle::marks_of(row.protocol, p.flags));
    }
    EXPECT_EQ(c.opened(), row.opened);
  }
}

TEST(Lifecycle, ReportsEachMarkOfADirectionOnce) {
  Connection c;
  start(c, IpProtocol::kUdp, 5);
  EXPECT_EQ(lifecycle::record(c, F, Seconds{5}, mark::kSeen), mark::kSeen);
  EXPECT_EQ(lifecycle::record(c, F, Seconds{5}, mark::kSeen), 0);
  EXPECT_EQ(lifecycle::record(c, F, Seconds{6}, mark::kSeen), 0);
  EXPECT_EQ(lifecycle::record(c, F, Seconds{6}, mark::kSeen | mark::kFin), mark::kFin);
  EXPECT_EQ(lifecycle::record(c, R, Seconds{6}, mark::kSeen), mark::kSeen);
}

TEST(Lifecycle, SlowerClockOfAnotherWorkerNeitherAgesNorRewinds) {
  Connection c;
  start(c, IpProtocol::kUdp, 100);
  lifecycle::record(c, F, Seconds{100}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{99}), 30u) << "a packet from the future is not 194 days old";
  lifecycle::record(c, F, Seconds{99}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{100}), 30u);
}

TEST(Lifecycle, The24BitClockWraps) {
  const std::uint32_t wrap = 1u << 24;
  Connection c;
  start(c, IpProtocol::kUdp, wrap - 5);
  lifecycle::record(c, F, Seconds{wrap - 5}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{wrap + 5}), 20u);
  lifecycle::record(c, F, Seconds{wrap + 5}, mark::kSeen);
  EXPECT_EQ(lifecycle::expires_in(c, kTimeouts, Seconds{wrap + 5}), 30u);
  EXPECT_EQ(lifecycle::idle(c, Seconds{wrap + 8}), 3u);
}

TEST(Lifecycle, TimeoutsAreOptions) {
  Connection c;
  start(c, IpProtocol::kUdp, 10);
  EXPECT_EQ(lifecycle::expires_in(c, {.half_open = Seconds{7}}, Seconds{12}), 5u);
}

}  // namespace
}  // namespace isthmus
