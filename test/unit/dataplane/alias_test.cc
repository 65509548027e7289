// A cluster whose pods are known by aliases outside: east's 10.1.0.0/16 is 10.101.0.0/16 to others.
#include <gtest/gtest.h>

#include <string>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
const AliasPrefixes kAliases = {{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")},
                                {*Prefix::parse("fd00:1::/48"), *Prefix::parse("fd00:101::/48")}};
const Endpoint kAlias{Actors::ip("10.101.0.10"), 40000}, kAlias6{Actors::ip("fd00:101::10"), 40000};
const Endpoint kBackendAlias{Actors::ip("10.101.0.20"), 8080};

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

class Aliased : public ::testing::Test {
 protected:
  Aliased() { publish(kAliases, "10.101.0.0/16", "fd00:101::/48"); }

  void publish(const AliasPrefixes& aliases, const char* ipv4, const char* ipv6) {
    TableDelta delta;
    delta.aliases = aliases;
    delta.changed_clusters = {{ClusterId{1}, true, true, {*Prefix::parse(ipv4), *Prefix::parse(ipv6)}, {}}};
    ASSERT_TRUE(rig.engine().publish(delta).ok());
    for (const auto& [endpoint, identity] : {std::pair{at.client, kClientIdentity},
                                             {at.client6, kClientIdentity},
                                             {at.local_backend, kLocalBackendIdentity}}) {
      const EndpointEntry entry{Realm{0}, to_alias(aliases, endpoint.address), ClusterId{1}, Identity{identity},
                                kNoPeer};
      rig.engine().upsert_endpoints({&entry, 1});
    }
  }
  // The one packet that comes out of it, and that nothing of it is wrong.
  Dissected sent(const Outcome& outcome, bool underlay) {
    const Output out = outcome.only();
    EXPECT_EQ(out.underlay, underlay) << outcome.text();
    EXPECT_TRUE(out.packet.errors.empty()) << out.packet.errors.front();
    return out.packet;
  }
  static std::string ends(const Dissected& packet) {
    return packet.source.to_string() + " > " + packet.destination.to_string();
  }
  void expect_mismatch(const Outcome& outcome) {
    EXPECT_TRUE(outcome.out.empty()) << outcome.text();
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"alias_mismatch", 1}})) << outcome.text();
  }

  PathRig rig;
};

TEST_F(Aliased, OutsideAPodHasItsAliasBothWays) {
  for (const auto& [own, alias, west] :
       {std::tuple{at.client, kAlias, at.west}, std::tuple{at.client6, kAlias6, at.west6}}) {
    const Dissected out = sent(rig.from_local(tcp(own, west)), true);
    EXPECT_EQ(ends(out), alias.address.to_string() + " > " + west.address.to_string());
    EXPECT_EQ(out.vni, kClientIdentity);
    const Dissected back = sent(rig.from_underlay(from_west(tcp(west, alias, kSyn | kAck))), false);
    EXPECT_EQ(ends(back), west.address.to_string() + " > " + own.address.to_string());
    EXPECT_EQ(sent(rig.from_local(udp(own, west).with_payload(9)), true).source, alias.address);
    EXPECT_EQ(sent(rig.from_local(echo_request(own.address, west.address, 7)), true).source, alias.address);
  }
}

TEST_F(Aliased, OthersReachItByItsAliasOnly) {
  const Dissected in = sent(rig.from_underlay(from_west(tcp(at.west, kAlias))), false);
  EXPECT_EQ(ends(in), "10.2.0.10 > 10.1.0.10");
  const Dissected back = sent(rig.from_local(tcp(at.client, at.west, kSyn | kAck)), true);
  EXPECT_EQ(ends(back), "10.101.0.10 > 10.2.0.10");
  expect_mismatch(rig.from_underlay(from_west(tcp(at.west, at.local_backend))));
  expect_mismatch(rig.from_local(tcp(kBackendAlias, at.west)));
}

TEST_F(Aliased, InItsOwnClusterAPodCanBeCalledByItsAliasToo) {
  EXPECT_EQ(ends(sent(rig.from_local(tcp(at.client, kBackendAlias)), false)), "10.101.0.10 > 10.1.0.20");
  EXPECT_EQ(ends(sent(rig.from_local(tcp(at.local_backend, kAlias, kSyn | kAck)), false)), "10.101.0.20 > 10.1.0.10");
}

TEST_F(Aliased, ServicesHaveBackendsBehindAliases) {
  EXPECT_EQ(ends(sent(rig.from_underlay(from_west(tcp(at.west, at.local_service))), false)), "10.2.0.10 > 10.1.0.20");
  EXPECT_EQ(ends(sent(rig.from_local(tcp(at.local_backend, at.west, kSyn | kAck)), true)), "10.200.0.11 > 10.2.0.10");
  EXPECT_EQ(ends(sent(rig.from_local(tcp(at.client, at.remote_service)), true)), "10.101.0.10 > 10.2.0.10");
  const Endpoint replying{at.west.address, at.west.port};
  EXPECT_EQ(ends(sent(rig.from_underlay(from_west(tcp(replying, kAlias, kSyn | kAck))), false)),
            "10.200.0.10 > 10.1.0.10");
  EXPECT_EQ(ends(sent(rig.from_local(tcp(at.client, at.local_service)), false)), "10.1.255.1 > 10.1.0.20");
}

// The quoted packet is the one that its sender has sent; who reports is called by an alias outside, too.
TEST_F(Aliased, ErrorsAreTranslatedWithWhatTheyQuote) {
  const Dissected out = sent(rig.from_local(udp(at.client, at.west).with_payload(64)), true);
  const FrameBytes about = udp({kAlias.address, at.client.port}, at.west).with_payload(64).ip_bytes();
  EXPECT_EQ(out.source, kAlias.address);
  const Dissected error =
      sent(rig.from_underlay(from_west(icmp_error(at.west.address, kAlias.address, 3, 3, about))), false);
  EXPECT_EQ(ends(error), "10.2.0.10 > 10.1.0.10");
  EXPECT_EQ(error.quoted, udp(at.client, at.west).with_payload(64).ip_bytes());

  (void)sent(rig.from_underlay(from_west(udp(at.west, kBackendAlias).with_payload(64))), false);
  const FrameBytes inside = udp(at.west, at.local_backend).with_payload(64).with_ttl(63).ip_bytes();
  const Dissected reported =
      sent(rig.from_local(icmp_error(Actors::ip("10.1.0.1"), at.west.address, 3, 1, inside)), true);
  EXPECT_EQ(ends(reported), "10.101.0.1 > 10.2.0.10") << "a router of the cluster, not the pod";
  EXPECT_EQ(reported.quoted, udp(at.west, kBackendAlias).with_payload(64).with_ttl(63).ip_bytes());
}

TEST_F(Aliased, ConnectionsEndWhereAliasesChange) {
  (void)sent(rig.from_local(tcp(at.client, at.west)), true);
  (void)sent(rig.from_underlay(from_west(tcp(at.west, kAlias, kSyn | kAck))), false);
  publish({{kAliases[0].own, *Prefix::parse("10.111.0.0/16")}, kAliases[1]}, "10.111.0.0/16", "fd00:101::/48");
  expect_mismatch(rig.from_local(tcp(at.client, at.west, kAck)));
  const Endpoint other{at.client.address, 40001};
  EXPECT_EQ(ends(sent(rig.from_local(tcp(other, at.west)), true)), "10.111.0.10 > 10.2.0.10");
  publish({}, "10.1.0.0/16", "fd00:1::/48");
  expect_mismatch(rig.from_local(tcp(other, at.west, kAck)));
  const Endpoint third{at.client.address, 40002};
  EXPECT_EQ(ends(sent(rig.from_local(tcp(third, at.west)), true)), "10.1.0.10 > 10.2.0.10");
}

TEST(AliasPrefixes, MoveAddressesOfAnyLengthAndBack) {
  const AliasPrefixes prefixes = {{*Prefix::parse("10.1.16.0/20"), *Prefix::parse("100.64.32.0/20")},
                                  {*Prefix::parse("fd00:1::/49"), *Prefix::parse("fd00:2::/49")}};
  for (const auto& [own, alias] : {std::pair{"10.1.16.0", "100.64.32.0"},
                                   {"10.1.31.255", "100.64.47.255"},
                                   {"10.1.32.0", "10.1.32.0"},
                                   {"fd00:1:0:8000::1", "fd00:1:0:8000::1"},
                                   {"fd00:1:0:1::1", "fd00:2:0:1::1"}}) {
    EXPECT_EQ(to_alias(prefixes, Actors::ip(own)).to_string(), Actors::ip(alias).to_string()) << own;
    EXPECT_EQ(to_own(prefixes, Actors::ip(alias)), Actors::ip(own)) << alias;
  }
  EXPECT_EQ(to_alias(prefixes, *Prefix::parse("10.1.17.0/24")).to_string(), "100.64.33.0/24");
  EXPECT_EQ(to_alias(prefixes, *Prefix::parse("10.1.0.0/16")).to_string(), "10.1.0.0/16") << "not inside";
}

TEST(AliasPrefixes, ArePairedByFamilyAndLength) {
  const auto pair = [](std::vector<const char*> pods, std::vector<const char*> aliases) {
    const auto all = [](const std::vector<const char*>& texts) {
      std::vector<Prefix> prefixes;
      for (const char* text : texts) {
        prefixes.push_back(*Prefix::parse(text));
      }
      return prefixes;
    };
    return pair_aliases(all(pods), all(aliases), "podCIDRs");
  };
  EXPECT_EQ(pair({"10.1.0.0/16", "fd00:1::/48"}, {"fd00:2::/48", "10.2.0.0/16"})->size(), 2U);
  EXPECT_EQ(pair({"10.1.0.0/16", "fd00:1::/48"}, {"10.2.0.0/16"})->size(), 1U) << "of one family alone";
  EXPECT_TRUE(pair({"10.1.0.0/16"}, {"10.1.0.0/16"})->empty());
  EXPECT_FALSE(pair({"10.1.0.0/16"}, {"10.2.0.0/17"}));
  EXPECT_FALSE(pair({"10.1.0.0/16"}, {"10.2.0.0/16", "10.3.0.0/16"}));
  EXPECT_FALSE(pair({}, {"10.2.0.0/16"}));
  EXPECT_FALSE(pair({"10.1.0.0/16", "10.2.0.0/16"}, {"10.2.0.0/16", "10.3.0.0/16"})) << "an alias inside a block";
  EXPECT_FALSE(pair({"10.1.0.0/16", "10.2.0.0/16"}, {"10.3.0.0/16", "10.3.0.0/16"}));
  EXPECT_FALSE(pair({"10.1.0.0/16", "10.1.4.0/24"}, {"10.2.0.0/16", "10.3.4.0/24"})) << "a block inside another";
  EXPECT_FALSE(pair({"10.1.4.0/24", "10.2.0.0/16"}, {"10.2.4.0/24", "10.2.0.0/16"})) << "its own alias, another's too";
  EXPECT_EQ(pair({"10.1.4.0/24", "10.2.0.0/16"}, {"10.3.4.0/24", "10.2.0.0/16"})->size(), 1U);
  EXPECT_TRUE(pair({"10.1.0.0/16", "10.1.4.0/24"}, {"10.1.0.0/16", "10.1.4.0/24"})->empty());
}

}  // namespace
}  // namespace isthmus::test
