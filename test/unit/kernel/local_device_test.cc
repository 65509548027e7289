#include "control/kernel/local_device.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/udp.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "control/kernel/ethtool.h"
#include "control/kernel/links.h"
#include "control/kernel/sysctl.h"
#include "test/unit/kernel/network_namespace.h"
#include "xdp/loader/transmit_probe.h"

namespace isthmus::test {
namespace {

class LocalDeviceTest : public KernelTest {
 protected:
  LinkDetails details(const std::string& interface) {
    auto requests = NetlinkRequests::open();
    auto link = query_link(*requests, interface);
    EXPECT_TRUE(link && *link) << interface;
    return link && *link ? **link : LinkDetails{};
  }
  // What the steer program redirects to the engine end arrives at the kernel end.
  static void expect_transmits_redirected() {
    int error = 0;
    EXPECT_EQ(try_transmission(*find_interface("isthmus0x"), error), Trial::kSends) << error;
  }
};

TEST_F(LocalDeviceTest, IsCreatedWithItsConfiguration) {
  const auto device = kernel_->make_local_device({.queues = 2, .mtu = Bytes{1430}});
  ASSERT_TRUE(device) << device.error().text();
  EXPECT_FALSE(device->adopted);
  EXPECT_EQ(device->queues, 2U);
  EXPECT_EQ(device->kernel_end.interface, "isthmus0");
  EXPECT_EQ(device->engine_end.interface, "isthmus0x");
  for (const char* end : {"isthmus0", "isthmus0x"}) {
    const LinkDetails link = details(end);
    EXPECT_EQ(link.state.kind, "veth");
    EXPECT_TRUE(link.state.up && link.state.running) << end;
    EXPECT_TRUE(link.no_arp) << end;
    EXPECT_FALSE(link.multicast) << end;
    EXPECT_EQ(link.state.mtu.value(), 1430U) << end;
    const auto counts = queue_counts(end);
    ASSERT_TRUE(counts) << counts.error().text();
    EXPECT_EQ(counts->rx, 2U);
    EXPECT_EQ(counts->tx, 2U);
  }
  const auto enabled = enabled_offloads("isthmus0");
  ASSERT_TRUE(enabled) << enabled.error().text();
  EXPECT_TRUE(enabled->empty()) << enabled->front();
  expect_transmits_redirected();
  EXPECT_EQ(read_sysctl("ipv4/conf/isthmus0/rp_filter"), "2");
  EXPECT_EQ(read_sysctl("ipv6/conf/isthmus0/accept_ra"), "0");
  EXPECT_EQ(read_sysctl("ipv6/conf/isthmus0/disable_ipv6"), "0");
  EXPECT_EQ(read_sysctl("ipv6/conf/isthmus0x/disable_ipv6"), "1");
  sh("test -z \"$(ip -o addr show dev isthmus0)$(ip -o addr show dev isthmus0x)\"");
}

TEST_F(LocalDeviceTest, IsAdoptedAndReconfigured) {
  const auto created = kernel_->make_local_device({.queues = 2, .mtu = Bytes{1450}});
  ASSERT_TRUE(created) << created.error().text();
  sh("ip link set isthmus0 mtu 1400 arp on multicast on && ip link set isthmus0x down");
  sh("ethtool -K isthmus0 tx on tso on gso on gro off >/dev/null && ethtool -L isthmus0 tx 1");
  sh("sysctl -qw net.ipv4.conf.isthmus0.rp_filter=1");

  const auto adopted = kernel_->make_local_device({.queues = 2, .mtu = Bytes{1450}});
  ASSERT_TRUE(adopted) << adopted.error().text();
  EXPECT_TRUE(adopted->adopted);
  EXPECT_EQ(adopted->kernel_end, created->kernel_end);
  EXPECT_EQ(adopted->engine_end, created->engine_end);
  EXPECT_TRUE(details("isthmus0").no_arp);
  EXPECT_FALSE(details("isthmus0").multicast);
  EXPECT_TRUE(enabled_offloads("isthmus0")->empty());
  expect_transmits_redirected();
  EXPECT_EQ(queue_counts("isthmus0")->tx, 2U);
  EXPECT_EQ(read_sysctl("ipv4/conf/isthmus0/rp_filter"), "2");
}

TEST_F(LocalDeviceTest, FollowsTheNumberOfWorkersUpToItsAllocatedQueues) {
  ASSERT_TRUE(kernel_->make_local_device({.queues = 3}));
  for (const unsigned queues : {1U, 3U, 2U}) {
    const auto adopted = kernel_->make_local_device({.queues = queues});
    ASSERT_TRUE(adopted) << adopted.error().text();
    EXPECT_EQ(queue_counts("isthmus0x")->rx, queues);
    EXPECT_EQ(queue_counts("isthmus0")->tx, queues);
  }
  const auto too_many = kernel_->make_local_device({.queues = 4});
  ASSERT_FALSE(too_many);
  EXPECT_NE(too_many.error().text().find("3 queues"), std::string::npos) << too_many.error().text();
  EXPECT_NE(too_many.error().fix.find("ip link del isthmus0"), std::string::npos);
}

TEST_F(LocalDeviceTest, LeavesForeignInterfacesAlone) {
  sh("ip link add isthmus0 type bridge");
  auto failed = kernel_->make_local_device({});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().where, "isthmus0");
  EXPECT_FALSE(kernel_->remove_local_device({}));
  sh("ip link add isthmus0x type veth peer name other");
  failed = kernel_->make_local_device({});
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().what.find("not a veth device but bridge"), std::string::npos) << failed.error().text();
  sh("ip link del isthmus0 && ip link add isthmus0 type veth peer name another");
  failed = kernel_->make_local_device({});
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().what.find("not the peer"), std::string::npos) << failed.error().text();
  EXPECT_FALSE(kernel_->remove_local_device({}));
  sh("ip link show isthmus0 >/dev/null && ip link show isthmus0x >/dev/null");
}

TEST_F(LocalDeviceTest, AnEndInAnotherNamespaceIsAnError) {
  ASSERT_TRUE(kernel_->make_local_device({}));
  const NetworkNamespace elsewhere;
  sh("ip link set isthmus0x netns " + elsewhere.path());
  const auto failed = kernel_->make_local_device({});
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().what.find("isthmus0x does not"), std::string::npos) << failed.error().text();
}

TEST_F(LocalDeviceTest, IsRemovedOnlyOnRequest) {
  ASSERT_TRUE(kernel_->make_local_device({}));
  kernel_.reset();
  sh("ip link show isthmus0 >/dev/null");
  kernel_ = *Kernel::open();
  EXPECT_TRUE(kernel_->remove_local_device({}));
  sh("! ip link show isthmus0 2>/dev/null && ! ip link show isthmus0x 2>/dev/null");
  EXPECT_TRUE(kernel_->remove_local_device({}));
}

TEST_F(LocalDeviceTest, InvalidNamesAndSizesAreErrors) {
  for (const char* name : {"", "isthmus-east-01", "a/b", "a b", ".."}) {
    const auto failed = kernel_->make_local_device({.kernel_end = name});
    ASSERT_FALSE(failed) << name;
    EXPECT_FALSE(failed.error().fix.empty());
  }
  EXPECT_FALSE(kernel_->make_local_device({.queues = 0}));
  EXPECT_FALSE(kernel_->make_local_device({.mtu = Bytes{100}}));
}

TEST_F(LocalDeviceTest, ReportsNodeSettingsThatPreventForwarding) {
  ASSERT_TRUE(kernel_->make_local_device({}));
  sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
  const auto problems = kernel_->forwarding_problems("isthmus0");
  ASSERT_EQ(problems.size(), 3U);
  EXPECT_EQ(problems[0].fix, "sysctl -w net/ipv4/ip_forward=1");
  for (const Error& problem : problems) {
    sh(problem.fix + " >/dev/null");
  }
  EXPECT_TRUE(kernel_->forwarding_problems("isthmus0").empty());
}

// Captures every frame that leaves the engine end, as AF_XDP would see it.
class FrameTap {
 public:
  explicit FrameTap(const char* interface) : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))) {
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
    const int one = 1;
    EXPECT_EQ(setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)), 0);
    const timeval timeout{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  }
  ~FrameTap() { close(fd_); }
  FrameTap(const FrameTap&) = delete;
  FrameTap& operator=(const FrameTap&) = delete;

  // Empty: timeout. `incomplete`: the checksum was left to the device.
  std::vector<std::uint8_t> next(bool& incomplete) {
    std::vector<std::uint8_t> frame(70000);
    iovec part{.iov_base = frame.data(), .iov_len = frame.size()};
    alignas(cmsghdr) std::array<char, 256> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t length = recvmsg(fd_, &message, 0);
    if (length < 0 && errno == ENETDOWN) {  // reported once if the interface was down at the start
      length = recvmsg(fd_, &message, 0);
    }
    frame.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
      tpacket_auxdata auxiliary{};
      std::memcpy(&auxiliary, CMSG_DATA(at), sizeof(auxiliary));
      incomplete = (auxiliary.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
    }
    return frame;
  }

 private:
  int fd_;
};

// RFC 1071 over the pseudo header and payload of an IPv4 frame: 0 if its TCP or UDP checksum is correct.
std::uint16_t checksum_of(std::span<const std::uint8_t> frame) {
  const std::size_t start = 14 + static_cast<std::size_t>(frame[14] & 0xf) * 4;
  const std::size_t total = static_cast<std::size_t>(frame[16]) * 256 + frame[17];
  std::uint32_t sum = frame[23] + static_cast<std::uint32_t>(14 + total - start);
  const auto add = [&sum, &frame](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      sum += (i - from) % 2 == 0 ? static_cast<std::uint32_t>(frame[i]) << 8 : frame[i];
    }
  };
  add(26, 34);
  add(start, 14 + total);
  while (sum >> 16 != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

TEST_F(LocalDeviceTest, PassesOnFramesWithCompleteChecksumsNoLongerThanTheMtu) {
  // Created by the test and still down, so that the tap sees the very first frames.
  sh("ip link add isthmus0 numrxqueues 1 numtxqueues 1 type veth peer name isthmus0x numrxqueues 1 numtxqueues 1");
  FrameTap tap("isthmus0x");
  const auto device = kernel_->make_local_device({.mtu = Bytes{1450}});
  ASSERT_TRUE(device) << device.error().text();
  sh("ip addr add 10.1.0.1/32 dev lo");
  ASSERT_TRUE(
      kernel_->set_routes("isthmus0", std::vector{prefix("10.2.0.0/16")}, {.source_ipv4 = address("10.1.0.1")}));

  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(0x0a020003);
  const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int segment = 1000;
  ASSERT_EQ(setsockopt(udp, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
  const std::vector<char> payload(9500, 'x');
  ASSERT_EQ(sendto(udp, payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 9500);
  close(udp);
  const int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  static_cast<void>(connect(tcp, reinterpret_cast<const sockaddr*>(&to), sizeof(to)));

  for (int i = 0; i < 11; ++i) {
    bool incomplete = false;
    const auto frame = tap.next(incomplete);
    ASSERT_GE(frame.size(), 54U) << i;
    EXPECT_LE(frame.size(), 1464U);
    ASSERT_EQ(frame[12] * 256 + frame[13], ETH_P_IP) << "frame " << i << " is not what was sent";
    EXPECT_EQ(frame[23], i < 10 ? IPPROTO_UDP : IPPROTO_TCP) << i;
    EXPECT_FALSE(incomplete) << i;
    EXPECT_EQ(checksum_of(frame), 0) << i;
  }
  close(tcp);
}

}  // namespace
}  // namespace isthmus::test
