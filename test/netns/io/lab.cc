#include "lab.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "xdp/loader/xdp_attachment.h"

namespace isthmus::lab {
namespace {

constexpr auto kTimeout = std::chrono::seconds(10);
const char* const kMacs[] = {"02:00:00:00:01:01", "02:00:00:00:01:02", "02:00:00:00:02:02", "02:00:00:00:02:01"};

sockaddr_in socket_address(const std::string& address, std::uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET, address.c_str(), &to.sin_addr), 1);
  return to;
}

}  // namespace

void sh(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

void have_bpf_file_system(bool mounted) {
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  while (umount2(kBpfFolder, MNT_DETACH) == 0) {  // the machine's, and those of earlier tests
  }
  ASSERT_EQ(errno, EINVAL) << std::strerror(errno);
  if (mounted) {
    ASSERT_EQ(mount("bpf", kBpfFolder, "bpf", 0, nullptr), 0);
  }
}

bool eventually(const std::function<bool()>& done, const std::function<void()>& step) {
  const auto end = std::chrono::steady_clock::now() + kTimeout;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    if (step) {
      step();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return true;
}

UdpSocket::UdpSocket(const std::string& address, std::uint16_t port)
    : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  const sockaddr_in local = socket_address(address, port);
  EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local), 0) << std::strerror(errno);
}

void UdpSocket::send(const std::string& to, std::uint16_t port, const std::string& payload) {
  const sockaddr_in remote = socket_address(to, port);
  EXPECT_EQ(
      sendto(fd_.get(), payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&remote), sizeof remote),
      static_cast<ssize_t>(payload.size()))
      << std::strerror(errno);
}

std::vector<std::string> UdpSocket::received() {
  std::vector<std::string> datagrams;
  char buffer[65536];
  ssize_t n = 0;
  while ((n = recv(fd_.get(), buffer, sizeof buffer, 0)) >= 0) {
    datagrams.emplace_back(buffer, static_cast<std::size_t>(n));
  }
  return datagrams;
}

Lab::Lab(unsigned mtu)
    : mtu_(mtu),
      prefix_("ist-io-" + std::to_string(getpid()) + "-"),
      home_(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
  for (const char* where : {"left", "gateway", "right"}) {
    sh("ip netns add " + name(where));
    for (const char* scope : {"all", "default"}) {
      run_in(where, std::string("sysctl -qw net.ipv6.conf.") + scope + ".disable_ipv6=1");
      run_in(where, std::string("sysctl -qw net.ipv4.conf.") + scope + ".rp_filter=0");
    }
    run_in(where, "ip link set lo up");
  }
  run_in("gateway", "sysctl -qw net.ipv4.ip_forward=1");
  make_left();
  make_pair("r0", "right", kMacs[3], "d0", kMacs[2]);
  run_in("right", std::string("ip address add 10.2.0.1/16 dev r0 && ip route add default dev r0 &&") +
                      " ip neigh add 10.1.0.1 lladdr " + kMacs[2] + " dev r0");
  run_in("gateway",
         std::string("ip address add 10.2.0.254/16 dev d0 && ip neigh add 10.2.0.1 lladdr ") + kMacs[3] + " dev d0");
}

void Lab::make_pair(const std::string& end, const std::string& where, const char* mac, const std::string& peer,
                    const char* peer_mac) {
  const std::string queues = " numrxqueues 2 numtxqueues 2 ", mtu = " mtu " + std::to_string(mtu_);
  sh("ip link add " + end + " netns " + name(where) + queues + "address " + mac + mtu + " type veth peer name " + peer +
     " netns " + name("gateway") + queues + "address " + peer_mac + mtu);
  run_in(where, "ip link set " + end + " up");
  run_in("gateway", "ip link set " + peer + " up");
  // Otherwise kernel senders would leave checksums to hardware that does not exist.
  run_in(where, "ethtool -K " + end + " tx off tso off gso off > /dev/null");
  run_in("gateway", "ethtool -K " + peer + " tx off tso off gso off > /dev/null");
}

void Lab::make_left() {
  make_pair("l0", "left", kMacs[0], "u0", kMacs[1]);
  run_in("left", std::string("ip address add 10.1.0.1/16 dev l0 && ip route add default dev l0 &&") +
                     " ip neigh add 10.2.0.1 lladdr " + kMacs[1] + " dev l0 &&" + " ip neigh add 10.1.0.254 lladdr " +
                     kMacs[1] + " dev l0 && ip neigh add 192.0.2.1 lladdr " + kMacs[1] + " dev l0");
  set_up_left();
}

void Lab::set_up_left() {
  run_in("gateway", std::string("ip address add 10.1.0.254/16 dev u0 && ip address add 192.0.2.1/32 dev u0 &&") +
                        " ip neigh add 10.1.0.1 lladdr " + kMacs[0] + " dev u0");
}

void Lab::move_left_away_and_back() {
  sh("ip netns add " + name("away"));
  run_in("gateway", "ip link set u0 netns " + name("away"));
  run_in("away", "ip link set u0 netns " + name("gateway"));
  sh("ip netns del " + name("away"));
  run_in("gateway", "ip link set u0 up");
  set_up_left();
}

void Lab::remove_left() { run_in("gateway", "ip link del u0"); }

Lab::~Lab() {
  EXPECT_EQ(setns(home_.get(), CLONE_NEWNET), 0);
  for (const char* where : {"left", "gateway", "right"}) {
    sh("ip netns del " + name(where));
  }
}

std::string Lab::name(const std::string& where) const { return prefix_ + where; }

void Lab::run_in(const std::string& where, const std::string& command) {
  sh("ip netns exec " + name(where) + " sh -c '" + command + "'");
}

void Lab::at(const std::string& where) {
  const UniqueFd ns(open(("/run/netns/" + name(where)).c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(setns(ns.get(), CLONE_NEWNET), 0) << std::strerror(errno);
}

SteerRules left_rules() {
  SteerRules rules;
  rules.tunnel = tunnel_end(*IpAddress::parse(kTunnelEnd));
  rules.fleet = {*Prefix::parse("10.2.0.0/16")};
  rules.local_sources = {*Prefix::parse("10.1.0.0/16")};
  return rules;
}

SteerRules right_rules() {
  SteerRules rules;
  rules.fleet = {*Prefix::parse("10.1.0.0/16")};
  rules.local_sources = {*Prefix::parse("10.2.0.0/16")};
  return rules;
}

Forwarder::Forwarder(Device& left, Device* right, WorkerId worker, unsigned workers, std::uint32_t frames)
    : left_mac_(left.mac()), right_mac_(right != nullptr ? right->mac() : MacAddress{}) {
  const bool with_long = left.has_long_packets() || (right != nullptr && right->has_long_packets());
  auto pool = FramePool::create({.chunks = frames, .long_chunks = with_long ? frames / 16 : 0});
  EXPECT_TRUE(pool.ok());
  pool_ = *std::move(pool);
  auto opened = left.open_queue(worker, workers, *pool_);
  EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().text());
  left_ = *std::move(opened);
  if (right != nullptr) {
    auto other = right->open_queue(worker, workers, *pool_);
    EXPECT_TRUE(other.ok()) << (other.ok() ? "" : other.error().text());
    right_ = *std::move(other);
  }
}

unsigned Forwarder::move(DeviceQueue& from, DeviceQueue* to, const MacAddress& source, const MacAddress& destination) {
  Frame burst[kMaxBurst];
  const unsigned n = from.receive(burst);
  for (unsigned i = 0; i < n; ++i) {
    EXPECT_GE(burst[i].data - pool_->chunk_start(burst[i].chunk), static_cast<long>(kFrameHeadroom));
    std::memcpy(burst[i].data, destination.bytes.data(), 6);
    std::memcpy(burst[i].data + 6, source.bytes.data(), 6);
  }
  const unsigned sent = to != nullptr ? to->transmit({burst, n}) : 0;
  for (unsigned i = sent; i < n; ++i) {
    pool_->release(burst[i].chunk);
  }
  return n;
}

unsigned Forwarder::round() {
  unsigned n = move(*left_, right_.get(), right_mac_, *MacAddress::parse(kMacs[3]));
  if (right_) {
    n += move(*right_, left_.get(), left_mac_, *MacAddress::parse(kMacs[0]));
    right_->flush();
  }
  left_->flush();
  return n;
}

std::unique_ptr<Device> open_device(const AfXdpOptions& options) {
  auto opened = open_af_xdp(options);
  EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().text());
  return opened.ok() ? *std::move(opened) : nullptr;
}

}  // namespace isthmus::lab
