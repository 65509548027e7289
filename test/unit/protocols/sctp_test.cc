// SCTP through the path: by its ports as TCP and UDP are, with a right checksum behind every translation.
#include <gtest/gtest.h>

#include "dataplane/net/sctp_checksum.h"
#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

using Drops = std::map<std::string, std::uint64_t>;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint8_t kSctpNumber = 132;
const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

class Sctp : public ::testing::Test {
 protected:
  Sctp() {
    set_boot_clock(Nanoseconds{1000 * kSecond});
    rig = std::make_unique<PathRig>();
  }
  std::unique_ptr<PathRig> rig;
};

TEST_F(Sctp, GoesDirectlyBothWaysInBothFamilies) {
  for (const auto& [client, server] : {std::pair{at.client, at.west}, {at.client6, at.west6}}) {
    const Output out = rig->from_local(sctp(client, server).with_payload(333)).only();
    EXPECT_EQ(out.packet.vni, kClientIdentity);
    EXPECT_EQ(out.packet.destination_port, server.port);
    const Output back = rig->from_underlay(from_west(sctp(server, client).with_payload(1))).only();
    EXPECT_EQ(back.packet.source_port, server.port);
  }
  ASSERT_EQ(rig->flows().size(), 2u);
  EXPECT_EQ(rig->flows().front().protocol, IpProtocol::kSctp);
  EXPECT_EQ(rig->flows().front().reply_packets, 1u);
}

TEST_F(Sctp, AServiceOfItsPortsIsTranslatedThereAndBackWithARightChecksumAtEveryLength) {
  rig->set_backends(at.remote_service, 70, {backend(70, at.west, 2)}, {0}, IpProtocol::kSctp);
  rig->set_backends(at.local_service, 71, {backend(71, at.local_backend, 1)}, {0}, IpProtocol::kSctp);
  rig->set_backends(at.service6, 72, {backend(72, at.west6, 2)}, {0}, IpProtocol::kSctp);
  for (const std::size_t payload : {0, 1, 2, 3, 4, 63, 255, 256, 1300}) {
    const Output out = rig->from_local(sctp(at.client, at.remote_service).with_payload(payload)).only();
    EXPECT_EQ(out.packet.destination, at.west.address);
    EXPECT_EQ(out.packet.destination_port, at.west.port);
    EXPECT_EQ(out.packet.payload, payload);
    EXPECT_TRUE(out.packet.payload_is_pattern);
    const Output back = rig->from_underlay(from_west(sctp(at.west, at.client).with_payload(payload))).only();
    EXPECT_EQ(back.packet.source, at.remote_service.address);
    EXPECT_EQ(back.packet.source_port, at.remote_service.port);
    const Output out6 = rig->from_local(sctp(at.client6, at.service6).with_payload(payload)).only();
    EXPECT_EQ(out6.packet.destination_port, at.west6.port);

    const Output local = rig->from_local(sctp(at.client, at.local_service).with_payload(payload)).only();
    EXPECT_EQ(local.packet.source, at.translation);
    EXPECT_EQ(local.packet.destination_port, at.local_backend.port);
    const Endpoint translated{at.translation, local.packet.source_port};
    const Output answer = rig->from_local(sctp(at.local_backend, translated).with_payload(payload)).only();
    EXPECT_EQ(answer.packet.destination_port, at.client.port);
  }
}

TEST_F(Sctp, ACorruptPacketIsStillCorruptBehindATranslation) {
  rig->set_backends(at.remote_service, 70, {backend(70, at.west, 2)}, {0}, IpProtocol::kSctp);
  FrameBytes frame = sctp(at.client, at.remote_service).with_payload(100).bytes();
  ASSERT_EQ(rig->raw(false, frame).only().packet.errors.size(), 0u);
  frame.back() = static_cast<std::uint8_t>(frame.back() ^ 4);
  ASSERT_TRUE(rig->local().inject(frame));
  rig->engine().run_round(WorkerId{0});
  const auto sent = rig->underlay().take();
  ASSERT_TRUE(sent.has_value());
  EXPECT_EQ(dissect(*sent).errors, std::vector<std::string>{"SCTP checksum"});
}

TEST_F(Sctp, AVipWithoutAnSctpPortIsNoFrontend) {
  EXPECT_EQ(rig->from_local(sctp(at.client, at.remote_service)).drops, (Drops{{"no_frontend", 1}}));
}

TEST_F(Sctp, AFragmentedOneIsForwardedDirectlyButNotTranslatedToAnotherPort) {
  rig->set_backends(at.remote_service, 70, {backend(70, at.west, 2)}, {0}, IpProtocol::kSctp);
  const auto first = [](const Endpoint& to) { return sctp(at.client, to).with_payload(52).as_fragment(0x2000); };
  EXPECT_EQ(rig->from_local(first(at.west)).out.size(), 1u);
  EXPECT_EQ(rig->from_local(first(at.remote_service)).drops, (Drops{{"untranslatable", 1}}));
}

TEST_F(Sctp, PortsOfPolicyAreThoseOfItsProtocolAlone) {
  PolicyDelta policies;
  policies.select(1, {kWestIdentity}).ingress(kClientIdentity, enforced({allow(1, kSctpNumber, 40000, 40000)}));
  ASSERT_TRUE(rig->engine().publish(policies.delta).ok());
  const Endpoint other{at.client.address, 40001};
  EXPECT_EQ(rig->from_underlay(from_west(sctp(at.west, at.client))).out.size(), 1u);
  EXPECT_EQ(rig->from_underlay(from_west(sctp(at.west, other))).drops, (Drops{{"policy_denied", 1}}));
  EXPECT_EQ(rig->from_underlay(from_west(udp(at.west, at.client))).drops, (Drops{{"policy_denied", 1}}));
  EXPECT_EQ(rig->from_underlay(from_west(tcp(at.west, at.client))).drops, (Drops{{"policy_denied", 1}}));
}

TEST_F(Sctp, AnUnreachablePortIsToldThroughATranslation) {
  rig->set_backends(at.remote_service, 70, {backend(70, at.west, 2)}, {0}, IpProtocol::kSctp);
  const Output out = rig->from_local(sctp(at.client, at.remote_service).with_payload(20)).only();
  const FrameBytes about(out.bytes.begin() + 64, out.bytes.end());
  const Output error =
      rig->from_underlay(from_west(icmp_error(at.west.address, at.client.address, 3, 2, about))).only();
  EXPECT_EQ(error.packet.source, at.remote_service.address);
  const FrameBytes& quoted = error.packet.quoted;
  ASSERT_GE(quoted.size(), 24u);
  EXPECT_EQ(quoted[22] << 8 | quoted[23], at.remote_service.port);
}

// The checksum that the sender has computed stands in the quote, as far as it is quoted.
TEST_F(Sctp, AQuoteHasTheChecksumOfWhatWasSentHoweverShortItIs) {
  rig->set_backends(at.remote_service, 70, {backend(70, at.west, 2)}, {0}, IpProtocol::kSctp);
  rig->set_backends(at.service6, 72, {backend(72, at.west6, 2)}, {0}, IpProtocol::kSctp);
  for (const auto& [client, vip, west] :
       {std::tuple{at.client, at.remote_service, at.west}, {at.client6, at.service6, at.west6}}) {
    const bool v4 = client.address.is_ipv4();
    const std::size_t header = v4 ? 20 : 40;
    const PacketSpec sent = sctp(client, vip).with_payload(301);
    ASSERT_EQ(rig->from_local(sent).out.size(), 1u);
    for (const std::size_t l4 : {8, 11, 12, 20, 313}) {
      FrameBytes about = sctp(client, west).with_payload(301).ip_bytes();
      ASSERT_EQ(about.size(), header + 313);
      about.resize(header + l4);
      const PacketSpec error = icmp_error(west.address, client.address, v4 ? 3 : 1, v4 ? 2 : 4, about);
      FrameBytes expected = sent.ip_bytes();
      expected.resize(header + l4);
      if (l4 == 11) {  // not all of the checksum
        std::copy(about.end() - 3, about.end(), expected.end() - 3);
      }
      EXPECT_EQ(rig->from_underlay(from_west(error)).only().packet.quoted, expected) << l4;
    }
  }
}

TEST_F(Sctp, AQuotedFragmentDoesNotTellOfItsDatagramsLength) {
  rig->set_backends(at.remote_service, 70, {backend(70, at.west, 2)}, {0}, IpProtocol::kSctp);
  ASSERT_EQ(rig->from_local(sctp(at.client, at.remote_service)).out.size(), 1u);
  const FrameBytes about = sctp(at.client, at.west).with_payload(52).as_fragment(0x2000).ip_bytes();
  const FrameBytes& quoted =
      rig->from_underlay(from_west(icmp_error(at.west.address, at.client.address, 3, 2, about))).only().packet.quoted;
  ASSERT_EQ(quoted.size(), about.size());
  EXPECT_EQ(quoted[22] << 8 | quoted[23], at.remote_service.port);
  EXPECT_TRUE(std::equal(quoted.begin() + 28, quoted.begin() + 32, about.begin() + 28)) << "the checksum is as it was";
}

TEST_F(Sctp, ItsConnectionExpires) {
  ASSERT_EQ(rig->from_local(sctp(at.client, at.west)).out.size(), 1u);
  ASSERT_EQ(rig->from_underlay(from_west(sctp(at.west, at.client))).out.size(), 1u);
  ASSERT_EQ(rig->flows().size(), 1u);
  EXPECT_EQ(rig->flows().front().expires_in_seconds, FlowTimeouts{}.other.value());
  set_boot_clock(Nanoseconds{(1000 + FlowTimeouts{}.other.value() + 1) * kSecond});
  for (int round = 0; round < 200'000 && !rig->flows().empty(); ++round) {
    rig->idle(64);
  }
  EXPECT_TRUE(rig->flows().empty());
}

TEST(SctpChecksum, ADifferenceAloneIsThatOfItsBits) {
  EXPECT_EQ(net::sctp_checksum_difference(0, 1500), 0u);
  const std::uint32_t a = net::sctp_checksum_difference(0x1234, 96), b = net::sctp_checksum_difference(0xff0000, 96);
  EXPECT_EQ(net::sctp_checksum_difference(0xff1234, 96), a ^ b);
  EXPECT_NE(a, net::sctp_checksum_difference(0x1234, 97));
}

}  // namespace
}  // namespace isthmus::test
