#include "control/daemon/node.h"

#include <gtest/gtest.h>

#include <array>

namespace isthmus {
namespace {

TEST(EngineOptionsOfAConfiguration, AreTheEnginesOwnDefaultsWhereNothingIsSet) {
  const EngineOptions defaults, options = engine_options({}, {});
  EXPECT_EQ(options.timeouts.tcp, defaults.timeouts.tcp);
  EXPECT_EQ(options.timeouts.tcp_syn, defaults.timeouts.tcp_syn);
  EXPECT_EQ(options.timeouts.tcp_closing, defaults.timeouts.tcp_closing);
  EXPECT_EQ(options.timeouts.other, defaults.timeouts.other);
  EXPECT_EQ(options.timeouts.half_open, defaults.timeouts.half_open);
  EXPECT_EQ(options.icmp_errors_per_second, defaults.icmp_errors_per_second);
  EXPECT_EQ(options.echo_answers_per_second, defaults.echo_answers_per_second);
  EXPECT_EQ(options.unknown_endpoint_hold, defaults.unknown_endpoint_hold);
  EXPECT_EQ(options.identity_grace, defaults.identity_grace);
}

TEST(EngineOptionsOfAConfiguration, CarryEachTimeoutRoundedUpToSeconds) {
  GatewayConfig config;
  config.timeout_tcp_ms = 3'600'000;
  config.timeout_tcp_syn_ms = 20'000;
  config.timeout_tcp_closing_ms = 1001;
  config.timeout_other_ms = 30'000;
  config.timeout_half_open_ms = 4001;
  config.icmp_errors_per_second = 7;
  config.echo_answers_per_second = 8;
  const EngineOptions options = engine_options(config, {});
  EXPECT_EQ(options.timeouts.tcp, Seconds{3600});
  EXPECT_EQ(options.timeouts.tcp_syn, Seconds{20});
  EXPECT_EQ(options.timeouts.tcp_closing, Seconds{2});
  EXPECT_EQ(options.timeouts.other, Seconds{30});
  EXPECT_EQ(options.timeouts.half_open, Seconds{5});
  EXPECT_EQ(options.icmp_errors_per_second, 7U);
  EXPECT_EQ(options.echo_answers_per_second, 8U);
}

TEST(LocalDeviceOfAConfiguration, HasTheMtuThatTheTunnelLeavesOfWhatTheEngineReceives) {
  GatewayConfig automatic;
  OwnGateway own;
  own.underlay = IpAddress::ipv4(Be32::of(0xc0000201));
  EXPECT_EQ(local_device_options(automatic, own, Bytes{1500}).mtu, Bytes{1450});
  EXPECT_EQ(local_device_options(automatic, own, Bytes{9000}).mtu, Bytes{3506 - 50}) << "what XDP forwards";
  automatic.kernel_flows = 0;
  EXPECT_EQ(local_device_options(automatic, own, Bytes{9000}).mtu, Bytes{3826 - 50});
  own.underlay = IpAddress::ipv6(std::array<std::uint8_t, 16>{0xfd, 1}.data());
  EXPECT_EQ(local_device_options(automatic, own, Bytes{1500}).mtu, Bytes{1430});
  GatewayConfig chosen;
  chosen.local.mtu = 1400;
  EXPECT_EQ(local_device_options(chosen, own, Bytes{9000}).mtu, Bytes{1400});
}

TEST(LocalDeviceOfAConfiguration, HasNoLargerMtuThanABufferHoldsBesideADpdkDevice) {
  GatewayConfig config;
  OwnGateway own;
  own.underlay = IpAddress::ipv4(Be32::of(0xc0000201));
  config.underlay.dpdk = "net_null0";
  EXPECT_EQ(local_device_options(config, own, Bytes{9000}).mtu, Bytes{3506 - 50}) << "the pair's own flows";
  config.local.device.kernel_forwarding = KernelForwarding::kOff;
  EXPECT_EQ(local_device_options(config, own, Bytes{9000}).mtu, Bytes{3634 - 50});
  EXPECT_EQ(local_device_options(config, own, Bytes{1500}).mtu, Bytes{1450});
}

}  // namespace
}  // namespace isthmus
