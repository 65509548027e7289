// The semantics of ports, protocols and ICMP types in policies, tested by the verdicts of the compiled tables.
#include "test/unit/policy/field_rows.h"

namespace isthmus {
namespace {

using namespace policy_test;

class PortFields : public ::testing::TestWithParam<Row> {};

TEST_P(PortFields, GiveTheExpectedVerdicts) { expect_verdicts(GetParam()); }

const std::string kEverybody = "fromEntities: [all], ";
const Row kPorts[] = {
    {"APortWithoutAProtocolIsOfAllThatHavePorts",
     in("{" + kEverybody + "toPorts: [{ports: [{port: \"80\"}]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true},
      {kIn, "east/web", "east/cart", kUdp, 80, true},
      {kIn, "east/web", "east/cart", kSctp, 80, true},
      {kIn, "east/web", "east/cart", kIcmp, 80, false},
      {kIn, "east/web", "east/cart", kTcp, 81, false}}},
    {"RangesIncludeTheirEnds",
     in("{" + kEverybody + "toPorts: [{ports: [{port: \"80\", endPort: 90, protocol: UDP}]}]}"),
     {{kIn, "east/web", "east/cart", kUdp, 80, true},
      {kIn, "east/web", "east/cart", kUdp, 90, true},
      {kIn, "east/web", "east/cart", kUdp, 79, false},
      {kIn, "east/web", "east/cart", kUdp, 91, false},
      {kIn, "east/web", "east/cart", kTcp, 85, false}}},
    {"PortZeroIsTheWholeProtocol",
     in("{" + kEverybody + "toPorts: [{ports: [{port: \"0\", protocol: TCP}]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 65535, true}, {kIn, "east/web", "east/cart", kUdp, 1, false}}},
    {"PortZeroOfAnyProtocolIsWhatHasPorts",
     in("{" + kEverybody + "toPorts: [{ports: [{port: \"0\", protocol: ANY}]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 1, true},
      {kIn, "east/web", "east/cart", kUdp, 65535, true},
      {kIn, "east/web", "east/cart", kSctp, 1, true},
      {kIn, "east/web", "east/cart", kGre, 0, false},
      {kIn, "east/web", "east/cart", kIcmp, 8, false},
      {kIn, "east/web", "east/cart", kIcmpv6, 128, false}}},
    {"PortZeroWithoutAProtocolIsWhatHasPorts",
     in("{" + kEverybody + "toPorts: [{ports: [{port: \"0\"}]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 1, true},
      {kIn, "east/web", "east/cart", kUdp, 1, true},
      {kIn, "east/web", "east/cart", kIcmp, 8, false}}},
    {"NoPortListMatchesEverything",
     in("{fromEntities: [all], toPorts: []}"),
     {{kIn, "east/web", "east/cart", kTcp, 1, true}, {kIn, "east/web", "east/cart", kIcmp, 8, true}}},
    {"AnEmptyPortListMatchesNothing",
     cnp("  endpointSelector: {}\n  ingress: [{fromEntities: [all], toPorts: [{ports: [{port: \"1\"}]}]}]"),
     {{kIn, "east/web", "east/cart", kTcp, 2, false}}},
    {"ANamedIngressPortIsTheSubjects",
     in("{" + kEverybody + "toPorts: [{ports: [{port: HTTP}]}]}"),
     {{kIn, "west/web", "east/cart", kTcp, 8080, true},
      {kIn, "west/web", "east/cart", kTcp, 8081, false},
      {kIn, "west/web", "east/cart", kUdp, 8080, false}}},
    {"ANamedEgressPortIsThePeers",
     out("{toEndpoints: [{matchLabels: {io.cilium.k8s.policy.cluster: west}}], "
         "toPorts: [{ports: [{port: http, protocol: TCP}]}]}"),
     {{kOut, "east/cart", "west/web", kTcp, 8081, true}, {kOut, "east/cart", "west/web", kTcp, 8080, false}}},
    {"ANamedEgressPortIsThatOfEachPeer",
     out("{toEndpoints: [{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}]}], "
         "toPorts: [{ports: [{port: http, protocol: TCP}]}]}"),
     {{kOut, "east/cart", "west/web", kTcp, 8081, true},
      {kOut, "east/cart", "west/web", kTcp, 8080, false},
      {kOut, "east/cart", "east/web", kTcp, 8080, true},
      {kOut, "east/cart", "east/web", kTcp, 8081, false},
      {kOut, "east/cart", "east/ledger", kTcp, 8080, false}}},
    {"ANamedEgressPortWithoutPeersIsThatOfEveryEndpoint",
     out("{toPorts: [{ports: [{port: http, protocol: TCP}]}]}"),
     {{kOut, "east/cart", "west/ledger", kTcp, 8081, true},
      {kOut, "east/cart", "west/ledger", kTcp, 8080, false},
      {kOut, "east/cart", "east/ledger", kTcp, 8080, true},
      {kOut, "east/cart", "203.0.113.1", kTcp, 8080, false},
      {kOut, "east/cart", "203.0.113.1", kTcp, 8081, false},
      {kOut, "east/cart", "10.2.77.1", kTcp, 8081, false}}},
    {"ANamedEgressPortOfAnEntityIsThatOfItsEndpoints",
     out("{toEntities: [cluster, world], toPorts: [{ports: [{port: http, protocol: TCP}]}]}"),
     {{kOut, "east/cart", "east/ledger", kTcp, 8080, true},
      {kOut, "east/cart", "west/ledger", kTcp, 8081, false},
      {kOut, "east/cart", "10.1.77.1", kTcp, 8080, false},
      {kOut, "east/cart", "203.0.113.1", kTcp, 8080, false}}},
    {"ANamedEgressDenyIsThatOfEachPeer",
     cnp("  endpointSelector: {}\n  egress: [{toEntities: [all]}]\n"
         "  egressDeny: [{toPorts: [{ports: [{port: http}]}]}]"),
     {{kOut, "east/cart", "west/web", kTcp, 8081, false},
      {kOut, "east/cart", "west/web", kTcp, 8080, true},
      {kOut, "east/cart", "203.0.113.1", kTcp, 8081, true}}},
    {"AnUnknownPortNameMatchesNothing",
     in("{" + kEverybody + "toPorts: [{ports: [{port: metrics}]}]}"),
     {{kIn, "west/web", "east/cart", kTcp, 8080, false}}},
    {"IcmpByNumberAndByName",
     in("{" + kEverybody + "icmps: [{fields: [{type: 0}, {type: EchoRequest}, {family: IPv6, type: EchoRequest}]}]}"),
     {{kIn, "east/web", "east/cart", kIcmp, 8, true},
      {kIn, "east/web", "east/cart", kIcmp, 0, true},
      {kIn, "east/web", "east/cart", kIcmp, 3, false},
      {kIn, "east/web", "east/cart", kIcmpv6, 128, true},
      {kIn, "east/web", "east/cart", kIcmpv6, 8, false},
      {kIn, "east/web", "east/cart", kTcp, 8, false}}},
    {"IcmpWithoutPeersMatchesEveryPeer",
     in("{icmps: [{fields: [{type: 8, family: IPv4}]}]}"),
     {{kIn, "203.0.113.1", "east/cart", kIcmp, 8, true}, {kIn, "203.0.113.1", "east/cart", kTcp, 8, false}}},
};
INSTANTIATE_TEST_SUITE_P(Policies, PortFields, ::testing::ValuesIn(kPorts),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace isthmus
