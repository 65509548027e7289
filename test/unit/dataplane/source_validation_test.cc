// Source validation with a clock set by the test: what expires, and both layouts of the cluster bits in a VNI.
#include <gtest/gtest.h>

#include <set>

#include "dataplane/api/identity.h"
#include "dataplane/publish/publisher.h"
#include "dataplane/slowpath/steps.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

constexpr std::uint32_t kHold = 10, kGrace = 5, kNow = 1000;
constexpr PeerId kWestGateway{1};
constexpr std::uint8_t kShift255 = 16, kShift511 = 15;
const Actors at;

// Published tables without a worker: calls validate_source() as decide() does.
class SourceValidationRig {
 public:
  explicit SourceValidationRig(std::uint8_t shift = kShift255, std::uint16_t west = 2)
      : shared(options(shift), 1), publisher(shared) {
    FlowTable::Options table;
    table.keep_state = false;
    table.connections = 64;
    auto flows = FlowTable::open(table, shared.quiescence);
    EXPECT_TRUE(flows.ok());
    shared.flows = std::move(*flows);
    TableDelta delta;
    delta.upsert_peers = {{kWestGateway, ClusterId{west}, at.west_gateway, L4Port{8472}, AdjacencyId{1}, true}};
    delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}},
                      {ClusterId{west}, false, true, {*Prefix::parse("10.2.0.0/16")}, {kWestGateway}}};
    EXPECT_TRUE(publisher.apply(delta).ok());
    cluster = ClusterId{west};
  }

  // The drop reason of a packet from west with this VNI at this second, or "" if it passes.
  std::string at_second(std::uint32_t second, std::uint32_t vni) {
    const ReadSection section(shared.quiescence, 0);
    const FlowKey key{source, at.client.address, Be16::of(1), Be16::of(2), IpProtocol::kTcp, Realm{0}};
    const PacketFacts facts(key, Origin(kWestGateway, Vni{vni}), Seconds{second});
    const DecisionTables tables{shared.options, shared.endpoints, shared.flows->epochs(), shared.adjacencies,
                                shared.flows->affinities()};
    const DecisionInput in{*shared.snapshot.load(), tables, facts, {unknown_sources.get(), nullptr}};
    Decision decision;
    begin(in, decision);
    const Refusal drop = validate_source(in, decision);
    valid_until = decision.valid_until;
    source_identity = decision.source_identity;
    return drop ? std::string(kDropReasonInfo[static_cast<std::size_t>(*drop)].name) : std::string();
  }
  void pod(std::uint32_t identity, std::uint32_t second) {
    const EndpointEntry entry{Realm{0}, at.west.address, cluster, Identity{identity}, kNoPeer};
    publisher.upsert_endpoints({&entry, 1}, Seconds{second});
  }
  void prefix(const char* text, Identity identity) {
    TableDelta delta;
    delta.cidr_identities = {{*Prefix::parse(text), identity}};
    EXPECT_TRUE(publisher.apply(delta).ok());
  }
  void no_pod() { publisher.remove_endpoints(Realm{0}, {&at.west.address, 1}); }

  SharedState shared;
  Publisher publisher;
  std::unique_ptr<UnknownSources> unknown_sources = std::make_unique<UnknownSources>();
  IpAddress source = at.west.address;
  ClusterId cluster;
  Seconds valid_until;
  Identity source_identity;

 private:
  static EngineOptions options(std::uint8_t shift) {
    EngineOptions options;
    options.cluster = ClusterId{1};
    options.tunnel = tunnel_end(at.gateway);
    options.unknown_endpoint_hold = Seconds{kHold};
    options.identity_grace = Seconds{kGrace};
    options.cluster_bits = ClusterBits{shift};
    return options;
  }
};

TEST(SourceValidation, TheVniOfAnUnpublishedPodIsAcceptedForTheHoldTime) {
  SourceValidationRig rig;
  EXPECT_EQ(rig.at_second(kNow, kWestIdentity), "");
  EXPECT_EQ(rig.valid_until, Seconds{kNow + kHold}) << "the cached decision expires with the hold time";
  EXPECT_EQ(rig.source_identity, Identity{kWestIdentity});
  EXPECT_EQ(rig.at_second(kNow + kHold - 1, kWestIdentity), "");
  EXPECT_EQ(rig.valid_until, Seconds{kNow + kHold}) << "further packets do not extend the hold time";
  EXPECT_EQ(rig.at_second(kNow + kHold, kWestIdentity), "unknown_source");
  rig.pod(kWestIdentity, kNow + kHold);
  EXPECT_EQ(rig.at_second(kNow + kHold, kWestIdentity), "");
  EXPECT_EQ(rig.valid_until, Seconds{0});
}

TEST(SourceValidation, AnotherPodAtTheAddressOfARemovedOneGetsItsOwnHoldTime) {
  SourceValidationRig rig;
  rig.pod(kWestIdentity, kNow);
  EXPECT_EQ(rig.at_second(kNow, kWestIdentity), "");
  rig.no_pod();
  EXPECT_EQ(rig.at_second(kNow + 100, kWestIdentity + 1), "");
  EXPECT_EQ(rig.at_second(kNow + 100 + kHold, kWestIdentity + 1), "unknown_source");
}

TEST(SourceValidation, AnAddressThatWasPublishedMeanwhileGetsANewHoldTime) {
  SourceValidationRig rig;
  EXPECT_EQ(rig.at_second(kNow, kWestIdentity), "");
  rig.pod(kWestIdentity, kNow);  // no packet while it is published
  rig.no_pod();
  EXPECT_EQ(rig.at_second(kNow + 100, kWestIdentity + 1), "");
}

TEST(SourceValidation, ManyUnpublishedSourcesDoNotRenewEachOthersHoldTime) {
  SourceValidationRig rig;
  constexpr std::uint32_t kSources = 20'000;
  std::uint32_t late = 0;
  for (std::uint32_t second = kNow; second <= kNow + kHold; second += kHold) {
    for (std::uint32_t n = 0; n < kSources; ++n) {
      rig.source = IpAddress::ipv4(Be32::of(0x0a020000 + n));
      const bool passes = rig.at_second(second, kWestIdentity).empty();
      EXPECT_TRUE(passes || second != kNow);
      late += second != kNow && passes ? 1 : 0;
    }
  }
  EXPECT_EQ(late, 0u);
}

TEST(SourceValidation, TheReservedVniOfAnUnpublishedSourceIsAcceptedForTheHoldTime) {
  for (const std::uint32_t vni : {3u, 4u, 5u, 7u, 8u, 100u, 128u}) {
    SourceValidationRig rig;
    EXPECT_EQ(rig.at_second(kNow, vni), "") << vni;
    EXPECT_EQ(rig.valid_until, Seconds{kNow + kHold}) << vni;
    EXPECT_EQ(rig.at_second(kNow + kHold, vni), "unknown_source") << vni;
  }
}

TEST(SourceValidation, WorldAndRemoteNodeAreWhatTheInnerSourceIs) {
  for (const std::uint32_t vni : {2u, 6u}) {
    SourceValidationRig rig;
    for (const std::uint32_t second : {kNow, kNow + kHold}) {
      EXPECT_EQ(rig.at_second(second, vni), "");
      EXPECT_EQ(rig.source_identity, identity::kWorld) << "not published";
      EXPECT_EQ(rig.valid_until, Seconds{0});
    }
    const Identity pods{identity::kPrefixScope << identity::kScopeShift | 9};
    rig.prefix("10.2.0.0/16", pods);
    EXPECT_EQ(rig.at_second(kNow, vni), "");
    EXPECT_EQ(rig.source_identity, pods);
    rig.pod(identity::kRemoteNode.value(), kNow);
    EXPECT_EQ(rig.at_second(kNow, vni), "");
    EXPECT_EQ(rig.source_identity, identity::kRemoteNode) << "a node that the hub knows";
  }
}

TEST(SourceValidation, AClusterWithManyUnpublishedSourcesShortensNobodyElsesHoldTime) {
  SourceValidationRig rig;
  constexpr std::uint32_t kSources = 50'000;
  for (std::uint32_t n = 0; n < kSources; ++n) {
    (void)rig.unknown_sources->since(ClusterId{3}, address_hash(Realm{0}, IpAddress::ipv4(Be32::of(0x0a030000 + n))),
                                     Seconds{kNow - kHold});
  }
  for (std::uint32_t n = 0; n < 500; ++n) {
    rig.source = IpAddress::ipv4(Be32::of(0x0a020000 + n));
    EXPECT_EQ(rig.at_second(kNow, kWestIdentity), "") << n;
    EXPECT_EQ(rig.valid_until, Seconds{kNow + kHold}) << n;
  }
}

TEST(SourceValidation, ThePreviousIdentityIsAcceptedForTheGracePeriod) {
  SourceValidationRig rig;
  rig.pod(kWestIdentity, kNow);
  rig.pod(kWestIdentity + 1, kNow);
  EXPECT_EQ(rig.at_second(kNow + kGrace - 1, kWestIdentity), "");
  EXPECT_EQ(rig.valid_until, Seconds{kNow + kGrace});
  EXPECT_EQ(rig.source_identity, Identity{kWestIdentity + 1}) << "policy sees the current identity";
  EXPECT_EQ(rig.at_second(kNow + kGrace, kWestIdentity), "identity_mismatch");
  EXPECT_EQ(rig.at_second(kNow + kGrace, kWestIdentity + 1), "");
}

TEST(SourceValidation, AnEndpointWithALocalIdentityMaySendAnyVniOfItsClusterAndKeepsItsOwn) {
  SourceValidationRig rig(kShift255);
  const Identity local = identity::local(7);
  rig.pod(local.value(), kNow);
  EXPECT_EQ(rig.at_second(kNow, (2U << kShift255) + 300), "");
  EXPECT_EQ(rig.source_identity, local);
  EXPECT_EQ(rig.at_second(kNow, (3U << kShift255) + 300), "vni_cluster");
  EXPECT_EQ(wire_vni(local), Vni{identity::kWorld.value()}) << "it is never sent";
}

TEST(SourceValidation, AnEndpointWithoutLabelsMaySendAnyVniOfItsClusterAndKeepsItsOwnIdentity) {
  for (const std::uint8_t shift : {kShift255, kShift511}) {
    SourceValidationRig rig(shift);
    const Identity unlabelled = identity::unlabelled(ClusterId{2});
    rig.pod(unlabelled.value(), kNow);
    for (const std::uint32_t vni : {2U << shift, (2U << shift) + 255, (2U << shift) + 300, 2U, 6U}) {
      EXPECT_EQ(rig.at_second(kNow, vni), "") << vni;
      EXPECT_EQ(rig.source_identity, unlabelled) << vni;
      EXPECT_EQ(rig.valid_until, Seconds{0}) << "the decision does not expire";
    }
    EXPECT_EQ(rig.at_second(kNow, (3U << shift) + 300), "vni_cluster");
    EXPECT_EQ(rig.at_second(kNow, (1U << shift) + 300), "vni_cluster") << "the gateway's own cluster";
    EXPECT_EQ(rig.at_second(kNow, 1), "vni_host");
    EXPECT_EQ(rig.at_second(kNow, 300), "vni_scoped");
    EXPECT_EQ(wire_vni(unlabelled), Vni{identity::kWorld.value()}) << "an internal identity is never sent";
    rig.pod((2U << shift) + 300, kNow);
    EXPECT_EQ(rig.at_second(kNow, (2U << shift) + 300), "");
    EXPECT_EQ(rig.at_second(kNow, (2U << shift) + 301), "identity_mismatch") << "its labels are known now";
  }
}

TEST(SourceValidation, InAClusterWithoutLabelsEveryAddressHasTheIdentityOfItsPrefix) {
  SourceValidationRig rig;
  const Identity pods = identity::unlabelled_at(Identity{identity::kPrefixScope << identity::kScopeShift | 9}, {});
  rig.prefix("10.2.0.0/16", pods);
  for (const std::uint32_t second : {kNow, kNow + 100 * kHold}) {
    EXPECT_EQ(rig.at_second(second, kWestIdentity), "") << "it will never be published";
    EXPECT_EQ(rig.source_identity, pods);
    EXPECT_EQ(rig.valid_until, Seconds{0});
  }
  EXPECT_EQ(rig.at_second(kNow, (3U << kShift255) + 300), "vni_cluster");
  rig.prefix("10.2.0.0/16", Identity{identity::kPrefixScope << identity::kScopeShift | 9});
  EXPECT_EQ(rig.at_second(kNow, kWestIdentity), "");
  EXPECT_EQ(rig.source_identity, Identity{kWestIdentity}) << "accepted for the hold time, since its labels may follow";
  EXPECT_EQ(rig.at_second(kNow + kHold, kWestIdentity), "unknown_source");
}

TEST(SourceValidation, TheClusterBitsOfAVniAreReadFor255And511Clusters) {
  for (const std::uint8_t shift : {kShift255, kShift511}) {
    const std::uint16_t last = shift == kShift255 ? 255 : 511;
    for (const std::uint16_t west : {std::uint16_t{2}, last}) {
      SourceValidationRig rig(shift, west);
      const std::uint32_t first = std::uint32_t{west} << shift;
      EXPECT_EQ(rig.at_second(kNow, first + 300), "") << west;
      EXPECT_EQ(rig.at_second(kNow, first + (1u << shift) - 1), "") << west;
      EXPECT_EQ(rig.at_second(kNow, first - 1), "vni_cluster") << west;
      EXPECT_EQ(rig.at_second(kNow, 1u << shift | 300), "vni_cluster") << "the gateway's own cluster";
      EXPECT_EQ(rig.at_second(kNow, 256), "vni_scoped");
      EXPECT_EQ(rig.at_second(kNow, (1u << shift) - 1), "vni_scoped");
    }
  }
}

TEST(SourceValidation, OnlyReservedIdentitiesThatMayBeOnTheWirePass) {
  SourceValidationRig rig;
  const std::set<std::uint32_t> sent{2, 3, 4, 5, 6, 7, 8, 100, 115, 128, 255};
  const std::set<std::uint32_t> never{0, 9, 10, 11, 12, 13, 14, 15, 99, 116, 127};
  for (const std::uint32_t vni : sent) {
    EXPECT_EQ(rig.at_second(kNow, vni), "") << vni;
    EXPECT_EQ(rig.source_identity, vni == identity::kRemoteNode.value() ? identity::kWorld : Identity{vni});
  }
  for (const std::uint32_t vni : never) {
    EXPECT_EQ(rig.at_second(kNow, vni), "vni_scoped") << vni;
  }
  EXPECT_EQ(rig.at_second(kNow, 1), "vni_host");
  rig.pod(kWestIdentity, kNow);
  for (const std::uint32_t vni : {2u, 6u}) {
    EXPECT_EQ(rig.at_second(kNow, vni), "");
    EXPECT_EQ(rig.source_identity, Identity{kWestIdentity}) << "resolved by the inner source";
  }
}

}  // namespace
}  // namespace isthmus::test
