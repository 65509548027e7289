// What the engine tells of how connections to the backends of a watched service open, and what a client cannot make it
// tell.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "dataplane/publish/opening_memory.h"
#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
using Kind = OpeningOutcome::Kind;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint32_t kService = 40, kBackend = 41;
const Endpoint kNeighbour{Actors::ip("10.1.0.77"), 40000};  // another client
const Endpoint kVip{Actors::ip("10.200.0.40"), 80};
const Endpoint kUnwatched{Actors::ip("10.200.0.41"), 80};

// The reset that answers a SYN.
PacketSpec refusal(const Endpoint& client) { return tcp(at.west, client, kRst | kAck).with_sequence(0); }

std::string text_of(const OpeningOutcome& outcome) {
  constexpr const char* kNames[] = {"answered", "refused", "unreachable", "silent"};
  return std::string(kNames[static_cast<std::size_t>(outcome.kind)]) + " " + outcome.client.to_string() +
         (outcome.endpoint ? "" : ", unpublished");
}

class Openings : public testing::Test {
 protected:
  Openings() {
    set_boot_clock(Nanoseconds{1000 * kSecond});
    begin();
    for (const IpProtocol protocol : {IpProtocol::kTcp, IpProtocol::kUdp, IpProtocol::kSctp}) {
      publish(kVip, kService, protocol, true);
    }
    publish(kUnwatched, kService + 1, IpProtocol::kTcp, false);
  }

  // A table of so few places that aging visits all of them at once.
  void begin(std::uint32_t connections = 2048) {
    PathRig::Options options;
    options.engine.connections = options.engine.half_open_limit = connections;
    rig = std::make_unique<PathRig>(options);
  }
  void publish(const Endpoint& vip, std::uint32_t service, IpProtocol protocol, bool watched,
               const Endpoint& at_west = at.west, std::uint16_t cluster = 2) {
    auto set = std::make_shared<BackendSet>();
    set->backends = {backend(kBackend, at_west, cluster)};
    set->ring = {0};
    FrontendEntry entry;
    entry.key = {Realm{0}, vip.address, protocol, L4Port{vip.port}};
    entry.service = ServiceId{service};
    entry.backends = std::move(set);
    entry.watched = watched;
    TableDelta delta;
    delta.upsert_frontends.push_back(entry);
    ASSERT_TRUE(rig->engine().publish(delta).ok());
  }
  static void pass(std::uint64_t seconds) { set_boot_clock(Nanoseconds{boot_clock().value() + seconds * kSecond}); }
  // All connections that have expired are removed.
  void age() { (void)rig->idle(4); }
  Outcome ask(const PacketSpec& packet) { return rig->from_local(packet); }
  Outcome answer(PacketSpec packet) {
    return rig->from_underlay(packet.in_tunnel(at.west_gateway, at.gateway, kWestIdentity));
  }
  // An ICMP error of west about the packet that the client's became.
  Outcome error(const IpAddress& from, std::uint8_t type, std::uint8_t code, PacketSpec about, const Endpoint& client) {
    about.destination = at.west.address;
    about.destination_port = at.west.port;
    return answer(icmp_error(from, client.address, type, code, about.ip_bytes()));
  }
  std::vector<std::string> told() {
    std::vector<std::string> texts;
    for (const OpeningOutcome& outcome : rig->engine().poll_events().openings) {
      EXPECT_EQ(outcome.service, ServiceId{kService});
      EXPECT_EQ(outcome.backend, BackendId{kBackend});
      texts.push_back(text_of(outcome));
    }
    return texts;
  }
  // After a failure, control wants to hear of answers too.
  void fail_once() {
    const Endpoint client{at.client.address, 39999};
    (void)ask(tcp(client, kVip));
    ASSERT_EQ(answer(refusal(client)).out.size(), 1u);
    ASSERT_EQ(told(), Texts{"refused 10.1.0.10"});
  }

  using Texts = std::vector<std::string>;
  std::unique_ptr<PathRig> rig;
};

TEST_F(Openings, AnswersAreToldOnlyAfterAFailure) {
  (void)ask(tcp(at.client, kVip));
  ASSERT_EQ(answer(tcp(at.west, at.client, kSyn | kAck)).out.size(), 1u);
  EXPECT_EQ(told(), Texts{});
  pass(1);
  fail_once();
  for (std::uint16_t port = 41000; port < 41003; ++port) {  // the second and third open as the first did
    const Endpoint client{at.client.address, port};
    (void)ask(tcp(client, kVip));
    (void)answer(tcp(at.west, client, kSyn | kAck));
    (void)ask(tcp(client, kVip, kAck));
    (void)answer(tcp(at.west, client, kAck));
    EXPECT_EQ(told(), Texts{"answered 10.1.0.10"}) << port;
  }
  pass(kOpeningSpan.value() + 1);
  (void)ask(tcp(kNeighbour, kVip));
  (void)answer(tcp(at.west, kNeighbour, kSyn | kAck));
  EXPECT_EQ(told(), Texts{}) << "the failure is forgotten";
}

// However many a client makes fail at once.
TEST_F(Openings, FailuresDuringWhichTheBackendHasAnsweredAnybodyAreNotTold) {
  for (const Endpoint& served : {kNeighbour, Endpoint{at.client.address, 50010}}) {
    std::vector<Endpoint> silent;
    for (std::uint16_t port = 50000; port < 50003; ++port) {
      silent.push_back({at.client.address, port});
    }
    for (const std::uint64_t wait : {5, 1, 1}) {
      pass(wait);
      for (const Endpoint& client : silent) {
        (void)ask(tcp(client, kVip));  // with a wrong checksum, say
      }
    }
    (void)ask(tcp(served, kVip));
    (void)answer(tcp(at.west, served, kSyn | kAck));
    pass(2);
    for (const Endpoint& client : silent) {
      (void)ask(tcp(client, kVip));
    }
    EXPECT_EQ(told(), Texts{}) << "who ask again";
    pass(60);
    age();
    EXPECT_EQ(told(), Texts{}) << "and expire";
  }
}

TEST_F(Openings, AFailureIsToldIfTheBackendHasAnsweredOnlyBefore) {
  (void)ask(tcp(kNeighbour, kVip));
  (void)answer(tcp(at.west, kNeighbour, kSyn | kAck));
  (void)ask(tcp(at.client, kVip));
  (void)answer(refusal(at.client));
  EXPECT_EQ(told(), Texts{}) << "in the same second: which was first is not known";
  pass(1);
  const Endpoint later{at.client.address, 40001};
  (void)ask(tcp(later, kVip));
  (void)answer(refusal(later));
  EXPECT_EQ(told(), Texts{"refused 10.1.0.10"});
}

// 10 s in which nothing passes; who asked then gives up, and is told of half a minute later.
TEST_F(Openings, WhatWasAskedInAnOutageThatIsOverIsNotTold) {
  for (std::uint16_t n = 0; n < 10; ++n, pass(1)) {
    (void)ask(tcp({at.client.address, static_cast<std::uint16_t>(50000 + n)}, kVip));
    (void)ask(tcp({kNeighbour.address, static_cast<std::uint16_t>(50000 + n)}, kVip));
  }
  (void)ask(tcp(at.client, kVip));
  (void)answer(tcp(at.west, at.client, kSyn | kAck));
  for (unsigned second = 0; second < 40; ++second, pass(1)) {
    age();
  }
  EXPECT_EQ(told(), Texts{});
}

// A member could send from as many addresses as it likes.
TEST_F(Openings, ClientsOfOtherClustersAreNotWatched) {
  publish(kVip, kService, IpProtocol::kTcp, true, at.client, 1);
  for (const std::uint64_t wait : {0, 1, 1, 2}) {
    pass(wait);
    for (std::uint8_t host = 1; host < 4; ++host) {
      const Endpoint client{IpAddress::ipv4(Be32::of(0x0a020500u + host)), 40000};
      const Outcome outcome =
          rig->from_underlay(tcp(client, kVip).in_tunnel(at.west_gateway, at.gateway, kWestIdentity));
      ASSERT_EQ(outcome.out.size(), 1u) << outcome.text();
    }
  }
  pass(60);
  age();
  EXPECT_EQ(told(), Texts{});
}

TEST_F(Openings, AnUnpublishedClientIsToldAsSuch) {
  const Endpoint unpublished{Actors::ip("10.1.5.5"), 40000};
  for (const bool as_known_to_patterns : {false, true}) {
    const Endpoint client{unpublished.address, static_cast<std::uint16_t>(40000 + as_known_to_patterns)};
    (void)ask(tcp(client, kVip));
    (void)answer(refusal(client));
    EXPECT_EQ(told(), Texts{"refused 10.1.5.5, unpublished"});
  }
}

TEST_F(Openings, WhatWeDropOurselvesIsNobodysSilence) {
  (void)ask(tcp(at.client, kVip));
  PacketSpec forged = tcp(at.west, at.client, kSyn | kAck);  // as if by the wrong peer: its answer does not pass
  const Outcome outcome = rig->from_underlay(forged.in_tunnel(at.west_gateway, at.gateway, kWestIdentity + 1));
  ASSERT_EQ(outcome.out.size(), 0u);
  pass(60);
  age();
  EXPECT_EQ(told(), Texts{});
}

TEST(OpeningMemory, AClockThatIsBehindAnothersIsNoneThatIsFarAhead) {
  constexpr ServiceId kOne{1};
  constexpr BackendId kFirst{7}, kOther{8};
  OpeningMemory memory;
  EXPECT_FALSE(memory.answered(kOne, kFirst, Seconds{101}));
  EXPECT_FALSE(memory.failed(kOne, kFirst, Seconds{100}, Seconds{100})) << "answered since";
  EXPECT_TRUE(memory.failed(kOne, kOther, Seconds{100}, Seconds{100})) << "another one";
  EXPECT_TRUE(memory.answered(kOne, kOther, Seconds{99}));
  EXPECT_TRUE(memory.answered(kOne, kFirst, Seconds{100})) << "does not set it back";
  EXPECT_FALSE(memory.failed(kOne, kFirst, Seconds{101}, Seconds{103}));
  EXPECT_TRUE(memory.failed(kOne, kFirst, Seconds{102}, Seconds{103}));
}

TEST_F(Openings, WhatFirstRepliesSay) {
  fail_once();
  struct Row {
    const char* description;
    std::function<PacketSpec(const Endpoint&)> asked, answered;
    Texts told;
  };
  const auto syn = [](const Endpoint& client) { return tcp(client, kVip); };
  const auto datagram = [](const Endpoint& client) { return udp(client, kVip); };
  const auto init = [](const Endpoint& client) { return sctp(client, kVip).with_payload(16); };
  const Row rows[] = {
      {"SYN-ACK", syn, [](auto& client) { return tcp(at.west, client, kSyn | kAck); }, {"answered 10.1.0.10"}},
      {"reset of a closed port", syn, refusal, {"refused 10.1.0.10"}},
      {"reset that acknowledges nothing",
       syn,
       [](auto& client) { return tcp(at.west, client, kRst).with_sequence(0); },
       {}},
      {"reset with a sequence number", syn, [](auto& client) { return tcp(at.west, client, kRst | kAck); }, {}},
      {"an acknowledgement of something else", syn, [](auto& client) { return tcp(at.west, client, kAck); }, {}},
      {"a datagram", datagram, [](auto& client) { return udp(at.west, client); }, {"answered 10.1.0.10"}},
      {"SCTP", init, [](auto& client) { return sctp(at.west, client).with_payload(16); }, {"answered 10.1.0.10"}},
      {"SCTP's abort, which may be about what was asked",
       init,
       [](auto& client) { return sctp(at.west, client).with_payload(16).with_first_byte(6); },
       {}},
  };
  std::uint16_t port = 42000;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.description);
    const Endpoint client{at.client.address, port++};
    pass(1);
    ASSERT_EQ(ask(row.asked(client)).out.size(), 1u);
    ASSERT_EQ(answer(row.answered(client)).out.size(), 1u);
    EXPECT_EQ(told(), row.told);
    (void)answer(row.answered(client));
    EXPECT_EQ(told(), Texts{}) << "once";
  }
  pass(60);
  age();
  EXPECT_EQ(told(), Texts{}) << "all of them were answered";
}

TEST_F(Openings, ASynThatNobodyAnswersIsToldWhenItExpires) {
  (void)ask(tcp(at.client, kVip));
  (void)ask(udp(at.client, kVip));
  (void)ask(tcp(at.client, kUnwatched));
  pass(29);
  age();
  EXPECT_EQ(told(), Texts{});
  pass(2);
  age();
  EXPECT_EQ(told(), Texts{"silent 10.1.0.10"}) << "and neither a datagram nor another service's connection";
  age();
  EXPECT_EQ(told(), Texts{});
}

TEST_F(Openings, WhatTheClientDoesItselfIsNoSilence) {
  struct Row {
    const char* description;
    std::vector<std::uint8_t> sent;
  };
  for (const Row& row : {Row{"it resets its own", {kSyn, kRst}},
                         {"it was answered by another way", {kSyn, kAck}},
                         {"it resets with an acknowledgement", {kSyn, kRst | kAck}},
                         {"it ends what it has begun", {kSyn, kFin | kAck}},
                         {"it begins in mid-stream", {kAck}},
                         {"it sends what belongs to no opening", {kSyn | kFin}}}) {
    SCOPED_TRACE(row.description);
    begin();
    publish(kVip, kService, IpProtocol::kTcp, true);
    for (const std::uint8_t flags : row.sent) {
      (void)ask(tcp(at.client, kVip, flags));
    }
    pass(70);
    age();
    EXPECT_EQ(told(), Texts{});
  }
}

TEST_F(Openings, AResetThatTheClientHasProvokedIsNoFailure) {
  (void)ask(tcp(at.client, kVip));
  (void)ask(tcp(at.client, kVip, kRst));
  (void)answer(refusal(at.client));
  EXPECT_EQ(told(), Texts{});
}

TEST_F(Openings, AClientThatAsksAgainAndAgainHasNotBeenAnswered) {
  for (const std::uint64_t wait : {0, 1, 2}) {
    pass(wait);
    (void)ask(tcp(at.client, kVip));
  }
  EXPECT_EQ(told(), Texts{});
  pass(4);
  (void)ask(tcp(at.client, kVip));
  EXPECT_EQ(told(), Texts{"silent 10.1.0.10"});
  pass(8);
  (void)ask(tcp(at.client, kVip));
  pass(60);
  age();
  EXPECT_EQ(told(), Texts{}) << "once";
}

TEST_F(Openings, AskingAgainInQuickSuccessionSaysNothing) {
  for (unsigned i = 0; i < 100; ++i) {
    (void)ask(tcp(at.client, kVip));
  }
  pass(2);
  (void)ask(tcp(at.client, kVip));
  (void)answer(tcp(at.west, at.client, kSyn | kAck));
  pass(10);
  (void)ask(tcp(at.client, kVip));  // though it was answered
  pass(60);
  age();
  EXPECT_EQ(told(), Texts{});
}

TEST_F(Openings, PortsWithoutAFrontendAreNoBackends) {
  for (std::uint16_t port = 1; port < 79; ++port) {
    const Outcome outcome = ask(tcp(at.client, {kVip.address, port}));
    EXPECT_EQ(outcome.out.size(), 0u);
    EXPECT_EQ(outcome.drops.at("no_frontend"), 1u);
  }
  (void)ask(tcp(at.client, at.west));  // the backend, but not by the service
  (void)answer(refusal(at.client));
  pass(60);
  age();
  EXPECT_EQ(told(), Texts{});
}

TEST_F(Openings, IcmpErrorsAboutFirstPackets) {
  const IpAddress router = Actors::ip("10.2.0.1");
  struct Row {
    const char* description;
    IpAddress from;
    std::uint8_t type, code;
    Texts told;
  };
  const Row rows[] = {
      {"the backend's port is closed", at.west.address, 3, 3, {"refused 10.1.0.10"}},
      {"another says that it is", router, 3, 3, {}},
      {"a router does not reach the host", router, 3, 1, {"unreachable 10.1.0.10"}},
      {"a router does not reach the network", router, 3, 0, {}},
      {"a firewall forbids it", router, 3, 13, {}},
      {"a TTL is used up", router, 11, 0, {}},
  };
  std::uint16_t port = 43000;
  for (const Row& row : rows) {
    for (const bool tcp_packet : {false, true}) {
      SCOPED_TRACE(std::string(row.description) + (tcp_packet ? ", TCP" : ", UDP"));
      const Endpoint client{at.client.address, port++};
      const PacketSpec packet = tcp_packet ? tcp(client, kVip) : udp(client, kVip);
      ASSERT_EQ(ask(packet).out.size(), 1u);
      ASSERT_EQ(error(row.from, row.type, row.code, packet, client).out.size(), 1u);
      EXPECT_EQ(told(), row.told);
      (void)error(row.from, row.type, row.code, packet, client);
      EXPECT_EQ(told(), Texts{}) << "once";
    }
  }
}

TEST_F(Openings, IpVersion6) {
  publish(at.service6, kService, IpProtocol::kTcp, true, at.west6);
  std::uint16_t port = 44000;
  const auto asks = [&] {
    const Endpoint client{at.client6.address, port++};
    EXPECT_EQ(ask(tcp(client, at.service6)).out.size(), 1u);
    return client;
  };
  (void)answer(tcp(at.west6, asks(), kRst | kAck).with_sequence(0));
  EXPECT_EQ(told(), Texts{"refused fd00:1::10"});
  (void)answer(tcp(at.west6, asks(), kSyn | kAck));
  EXPECT_EQ(told(), Texts{"answered fd00:1::10"});
  pass(1);
  struct Row {
    IpAddress from;
    std::uint8_t code;
    Texts told;
  };
  const IpAddress router = Actors::ip("fd00:2::1");
  for (const Row& row : {Row{at.west6.address, 4, {"refused fd00:1::10"}}, Row{router, 4, {}},
                         Row{router, 3, {"unreachable fd00:1::10"}}, Row{router, 0, {}}}) {
    const Endpoint client = asks();
    const FrameBytes about = tcp(client, at.west6).ip_bytes();
    ASSERT_EQ(answer(icmp_error(row.from, client.address, 1, row.code, about)).out.size(), 1u);
    EXPECT_EQ(told(), row.told);
  }
  pass(31);
  age();
  EXPECT_EQ(told(), (Texts{"silent fd00:1::10", "silent fd00:1::10"})) << "those two of which an error said nothing";
}

TEST_F(Openings, IcmpErrorsAboutWhatWasAnsweredOrIsOldSayNothing) {
  const PacketSpec datagram = udp(at.client, kVip);
  (void)ask(datagram);
  (void)answer(udp(at.west, at.client));
  ASSERT_EQ(error(at.west.address, 3, 3, datagram, at.client).out.size(), 1u);
  const Endpoint other{at.client.address, 40001};
  (void)ask(udp(other, kVip));
  pass(11);
  ASSERT_EQ(error(at.west.address, 3, 3, udp(other, kVip), other).out.size(), 1u);
  const Endpoint third{at.client.address, 40002};
  (void)ask(tcp(third, kVip));
  (void)ask(tcp(third, kVip, kAck));  // it was answered by another way
  ASSERT_EQ(error(at.west.address, 3, 3, tcp(third, kVip), third).out.size(), 1u);
  EXPECT_EQ(told(), Texts{});
}

TEST_F(Openings, WhatDoesNotFitTheQueueIsCounted) {
  constexpr std::uint64_t kMore = 10, kQueue = 4096;
  begin(8192);
  publish(kVip, kService, IpProtocol::kTcp, true);
  for (std::uint32_t n = 0; n < kQueue + kMore; ++n) {
    const Endpoint client{IpAddress::ipv4(Be32::of(0x0a010200 + n % 16)), static_cast<std::uint16_t>(1024 + n / 16)};
    ASSERT_EQ(ask(tcp(client, kVip)).out.size(), 1u) << n;
    (void)answer(refusal(client));
  }
  const EngineEvents events = rig->engine().poll_events();
  EXPECT_EQ(events.openings.size(), kQueue);
  EXPECT_EQ(events.openings_lost, kMore);
  EXPECT_GE(events.lost, kMore);
}

TEST_F(Openings, AServiceThatIsNotWatchedAnyMoreIsToldNothingOf) {
  (void)ask(tcp(at.client, kVip));
  publish(kVip, kService, IpProtocol::kTcp, false);
  (void)answer(refusal(at.client));
  EXPECT_EQ(told(), Texts{});
}

}  // namespace
}  // namespace isthmus::test
