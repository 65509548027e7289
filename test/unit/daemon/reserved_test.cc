#include "control/daemon/reserved.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(ServerAddress, IsThatOfAUrlOrAnEndpoint) {
  for (const auto& [server, address] : {std::pair{"https://192.0.2.1:2379", "192.0.2.1"},
                                        {"192.0.2.1:2379", "192.0.2.1"},
                                        {"192.0.2.1", "192.0.2.1"},
                                        {"https://[2001:db8::1]:6443/path", "2001:db8::1"},
                                        {"[2001:db8::1]:2379", "2001:db8::1"},
                                        {"2001:db8::1", "2001:db8::1"}}) {
    EXPECT_EQ(server_address(server), IpAddress::parse(address)) << server;
  }
  for (const char* server : {"https://hub.example:2379", "", "https://", "[", "[]", "://", ":2379"}) {
    EXPECT_EQ(server_address(server), std::nullopt) << server;
  }
}

TEST(ReservedAddresses, AreTheNodesItsRoutersAndTheHubs) {
  HubState hub;
  hub.hub = "etcd";
  hub.server = "https://192.0.2.9:2379";
  HubState named = hub;
  named.server = "https://hub.example:2379";
  named.servers = {"https://hub.example:2379", "https://192.0.2.10:2379", "2001:db8::10"};
  const auto address = [](const char* text) { return IpAddress::parse(text).value(); };
  EXPECT_THAT(reserved_addresses({{address("192.0.2.1"), "eth0", false, 24},
                                  {address("fe80::1"), "pod-1", false},
                                  {address("192.0.2.254"), "eth0", true}},
                                 {hub, hub, named}),
              testing::ElementsAre(ReservedAddress{address("192.0.2.0"), "a network of this node (eth0)", true,
                                                   Prefix::parse("192.0.2.0/24")},
                                   ReservedAddress{address("192.0.2.1"), "an address of this node (eth0)"},
                                   ReservedAddress{address("192.0.2.9"), "the server of a hub (etcd)", true},
                                   ReservedAddress{address("192.0.2.10"), "the server of a hub (etcd)", true},
                                   ReservedAddress{address("192.0.2.254"), "a router of this node (eth0)", true},
                                   ReservedAddress{address("2001:db8::10"), "the server of a hub (etcd)", true}));
}

}  // namespace
}  // namespace isthmus
