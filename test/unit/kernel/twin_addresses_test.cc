// A NIC's kernel interface, its wire, and its twin, in namespaces of the test's own: "nic0" is one end of a veth pair
// whose other end is another host's, "nic0host" a TAP.
#include "control/kernel/twin_addresses.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <array>
#include <atomic>
#include <cstring>
#include <regex>
#include <thread>
#include <vector>

#include "control/kernel/ethtool.h"
#include "control/kernel/ingress_drop.h"
#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

constexpr int kEthertypesAll = 0x0003;

std::string output_of(const std::string& command) {
  std::string text;
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 512> line;
  while (std::fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    text += line.data();
  }
  return text;
}

// Carries frames between the wire and the TAP, as a driver of DPDK's would.
class Wire {
 public:
  Wire(int tap, const std::string& nic) : tap_(tap), wire_(socket(AF_PACKET, SOCK_RAW, htons(kEthertypesAll))) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(kEthertypesAll);
    address.sll_ifindex = static_cast<int>(if_nametoindex(nic.c_str()));
    EXPECT_EQ(bind(wire_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    thread_ = std::thread([this] { run(); });
  }
  ~Wire() {
    stop_ = true;
    thread_.join();
    close(wire_);
  }

 private:
  void run() {
    std::array<pollfd, 2> wait = {pollfd{tap_, POLLIN, 0}, pollfd{wire_, POLLIN, 0}};
    std::array<char, 65536> frame;
    while (!stop_) {
      ::poll(wait.data(), wait.size(), 50);
      if (const ssize_t length = read(tap_, frame.data(), frame.size()); length > 0) {
        static_cast<void>(send(wire_, frame.data(), static_cast<std::size_t>(length), 0));
      }
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t length =
          recvfrom(wire_, frame.data(), frame.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &size);
      if (length > 0 && from.sll_pkttype != PACKET_OUTGOING) {
        static_cast<void>(!write(tap_, frame.data(), static_cast<std::size_t>(length)));
      }
    }
  }

  int tap_, wire_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class TwinAddresses : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    peer_ = std::make_unique<NetworkNamespace>();
    sh("ip link add nic0 type veth peer name far0 netns " + peer_->path());
    sh("ip link set nic0 up");
    peer_->in([] {
      sh("ip link set far0 up && ip addr add 192.0.2.2/24 dev far0 && ip addr add 2001:db8::2/64 dev far0 nodad");
      EXPECT_TRUE(disable_offloads("far0"));
    });
    EXPECT_TRUE(disable_offloads("nic0"));
    make_twin();
    auto requests = NetlinkRequests::open();
    ASSERT_TRUE(requests);
    requests_.emplace(*std::move(requests));
  }
  void TearDown() override {
    wire_.reset();
    close(tap_);
    KernelTest::TearDown();
  }

  void make_twin() {
    close(tap_);
    tap_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ifreq request{};
    std::strcpy(request.ifr_name, "nic0host");
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    ASSERT_EQ(ioctl(tap_, TUNSETIFF, &request), 0);
    sh("ip link set nic0host address $(ip -o link show nic0 | sed 's/.*ether //; s/ .*//') up");
  }
  // The frames of the wire go to the twin and back.
  void connect() { wire_ = std::make_unique<Wire>(tap_, "nic0"); }

  // Addresses, routes and static neighbours of an interface, as text in which it has no name.
  [[nodiscard]] static std::string state_of(const std::string& interface) {
    const std::string dev = "dev " + interface;
    const std::string addresses = "ip -o addr show " + dev + " scope global; ip -o addr show " + dev + " scope link";
    const std::string of_family = "ip -$f -N -d route show table all | grep -w '" + dev +
                                  "' | grep -v ' table 255 \\|fe80::/64 '; ip -$f neigh show " + dev + " nud permanent";
    std::string text = output_of(addresses + " | grep -v ' fe80:'; for f in 4 6; do " + of_family + "; done");
    // What is apart: numbers and names of interfaces, that of a check that is not repeated, and the state of a link.
    text = std::regex_replace(text, std::regex("(^|\n)[0-9]+: "), "$1");
    text = std::regex_replace(text, std::regex(" nodad| linkdown|\\\\ +valid"), " ");
    return std::regex_replace(text, std::regex("\\b" + interface + "\\b"), "IT");
  }
  static void configure_nic() {
    sh("ip addr add 192.0.2.1/24 brd + dev nic0 && ip addr add 192.0.2.9/24 dev nic0 label nic0:9");
    sh("ip addr add 198.51.100.1 peer 198.51.100.2/32 dev nic0 && ip addr add 169.254.3.1/16 dev nic0 scope link");
    sh("ip addr add 2001:db8::1/64 dev nic0 nodad && ip addr add 2001:db8:5::1/64 dev nic0 nodad noprefixroute");
    sh("ip route add default via 192.0.2.254 dev nic0 proto static metric 50 src 192.0.2.9 mtu lock 1400 advmss 1200");
    sh("ip route add 203.0.113.0/24 via 192.0.2.253 dev nic0 proto bird && ip route add 10.9.0.0/16 dev nic0 scope "
       "link");
    sh("ip route add 10.8.0.0/16 via 10.9.9.9 dev nic0 onlink table 100 tos 0x10");
    sh("ip route add 10.7.0.0/16 via inet6 fe80::9 dev nic0");
    sh("ip -6 route add default via fe80::1 dev nic0 metric 77 pref high && "
       "ip -6 route add 2001:db8:6::/48 via 2001:db8::77 dev nic0 table 100 proto static expires 4000");
    sh("ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev nic0 nud permanent && "
       "ip neigh add 2001:db8::77 lladdr 02:00:00:00:00:77 dev nic0 nud permanent router");
  }
  [[nodiscard]] Result<TakenOver> take_over() { return take_over_addresses(*requests_, "nic0", "nic0host"); }
  [[nodiscard]] Status give_back() { return give_back_addresses(*requests_, "nic0host"); }

  std::unique_ptr<NetworkNamespace> peer_;
  std::optional<NetlinkRequests> requests_;
  int tap_ = -1;
  std::unique_ptr<Wire> wire_;
};

std::string without_expiry(const std::string& text) {
  return std::regex_replace(text, std::regex("expires [0-9]+sec"), "expires");
}

TEST_F(TwinAddresses, everything_is_at_the_twin_and_comes_back) {
  configure_nic();
  const std::string before = state_of("nic0");
  ASSERT_NE(before.find("10.8.0.0/16"), std::string::npos) << before;
  const std::string nothing = state_of("nic0host");
  const auto taken = take_over();
  ASSERT_TRUE(taken) << taken.error().text();
  EXPECT_TRUE(taken->problems.empty()) << taken->problems[0].text();
  EXPECT_EQ(taken->state.host.addresses.size(), 6u);
  EXPECT_EQ(without_expiry(state_of("nic0host")), without_expiry(before));
  EXPECT_EQ(state_of("nic0"), nothing);
  EXPECT_NE(output_of("ip link show nic0host").find("alias isthmus twin of nic0"), std::string::npos);

  ASSERT_TRUE(give_back());
  EXPECT_EQ(without_expiry(state_of("nic0")), without_expiry(before));
  EXPECT_EQ(state_of("nic0host"), nothing);
  EXPECT_EQ(output_of("ip link show nic0host").find("alias"), std::string::npos);
  EXPECT_TRUE(give_back()) << "nothing is left to give";
}

TEST_F(TwinAddresses, routes_with_several_hops_keep_those_of_other_interfaces) {
  sh("ip link add other0 type veth peer name other1 && ip link set other0 up && ip link set other1 up");
  sh("ip addr add 10.1.0.1/24 dev other0 && ip addr add 2001:db8:1::1/64 dev other0 nodad");
  sh("ip addr add 192.0.2.1/24 dev nic0 && ip addr add 2001:db8::1/64 dev nic0 nodad");
  sh("ip route add 10.5.0.0/16 nexthop via 192.0.2.7 dev nic0 weight 3 nexthop via 10.1.0.7 dev other0");
  sh("ip -6 route add 2001:db8:9::/48 nexthop via 2001:db8::7 dev nic0 weight 3 nexthop via 2001:db8:1::7 dev other0");
  // Of one prefix with one metric, another interface's.
  sh("ip route add 10.6.0.0/16 dev other0 && ip route append 10.6.0.0/16 dev nic0");
  ASSERT_TRUE(take_over());
  const std::string ipv4 = output_of("ip route show 10.5.0.0/16");
  EXPECT_NE(ipv4.find("via 192.0.2.7 dev nic0host weight 3"), std::string::npos) << ipv4;
  EXPECT_NE(ipv4.find("via 10.1.0.7 dev other0 weight 1"), std::string::npos) << ipv4;
  const std::string ipv6 = output_of("ip -6 route show 2001:db8:9::/48");
  EXPECT_NE(ipv6.find("via 2001:db8::7 dev nic0host weight 3"), std::string::npos) << ipv6;
  EXPECT_NE(ipv6.find("via 2001:db8:1::7 dev other0 weight 1"), std::string::npos) << ipv6;
  EXPECT_EQ(ipv4.find("nic0 "), std::string::npos) << ipv4;
  EXPECT_EQ(ipv6.find("nic0 "), std::string::npos) << ipv6;
  const std::string twice = output_of("ip route show 10.6.0.0/16");
  EXPECT_NE(twice.find("dev other0"), std::string::npos) << twice;
  EXPECT_NE(twice.find("dev nic0host"), std::string::npos) << twice;
  ASSERT_TRUE(give_back());
  EXPECT_NE(output_of("ip route show 10.5.0.0/16").find("dev nic0 weight 3"), std::string::npos);
  EXPECT_NE(output_of("ip -6 route show 2001:db8:9::/48").find("dev nic0 weight 3"), std::string::npos);
  EXPECT_EQ(output_of("ip route show table all; ip -6 route show table all").find("nic0host proto static"),
            std::string::npos);
}

TEST_F(TwinAddresses, routes_by_next_hop_objects_go_by_the_twin_and_proxied_neighbours_too) {
  sh("ip addr add 192.0.2.1/24 dev nic0 && ip addr add 2001:db8::1/64 dev nic0 nodad");
  sh("ip nexthop add id 7 via 192.0.2.7 dev nic0 && ip -6 nexthop add id 8 via 2001:db8::7 dev nic0");
  sh("ip route add 10.5.0.0/16 nhid 7 && ip -6 route add 2001:db8:9::/48 nhid 8");
  sh("ip neigh add proxy 192.0.2.99 dev nic0 && ip -6 neigh add proxy 2001:db8::99 dev nic0");
  const auto routes = [] { return output_of("ip route show 10.5.0.0/16; ip -6 route show 2001:db8:9::/48"); };
  const auto count = [](const std::string& text, const std::string& words) {
    unsigned found = 0;
    for (auto at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
      ++found;
    }
    return found;
  };
  ASSERT_TRUE(take_over());
  EXPECT_EQ(count(routes(), "dev nic0host "), 2u) << routes();
  EXPECT_EQ(count(routes(), "dev nic0 "), 0u) << routes();
  const auto proxies = [](const std::string& dev) { return output_of("ip neigh show proxy dev " + dev); };
  EXPECT_EQ(count(proxies("nic0host"), "99"), 2u) << proxies("nic0host");
  EXPECT_EQ(proxies("nic0"), "");
  ASSERT_TRUE(give_back());
  EXPECT_EQ(count(routes(), "dev nic0 "), 2u) << routes();
  EXPECT_EQ(count(routes(), "dev nic0host "), 0u) << routes();
  EXPECT_EQ(count(proxies("nic0"), "99"), 2u) << proxies("nic0");
  EXPECT_EQ(proxies("nic0host"), "");
}

TEST_F(TwinAddresses, lifetimes_that_nobody_renews_there_end_and_a_deprecated_address_stays_so) {
  sh("ip addr add 192.0.2.1/24 dev nic0 valid_lft 4000 preferred_lft 3000");
  sh("ip addr add 2001:db8::1/64 dev nic0 nodad valid_lft 4000 preferred_lft 0");
  sh("ip addr add 2001:db8::5/64 dev nic0 nodad mngtmpaddr valid_lft 4000 preferred_lft 3000");
  ASSERT_TRUE(take_over());
  const std::string text = output_of("ip -o addr show dev nic0host scope global");
  EXPECT_TRUE(std::regex_search(text, std::regex("192\\.0\\.2\\.1/24.*valid_lft forever preferred_lft forever")))
      << text;
  EXPECT_TRUE(std::regex_search(text, std::regex("2001:db8::1/64.*deprecated.*valid_lft forever"))) << text;
  EXPECT_TRUE(std::regex_search(text, std::regex("2001:db8::5/64.*mngtmpaddr.*valid_lft [34]...sec"))) << text;
}

TEST_F(TwinAddresses, a_step_that_fails_leaves_all_as_it_was) {
  configure_nic();
  const std::string before = state_of("nic0"), nothing = state_of("nic0host");
  sh("ip link set nic0host mtu 1000");  // less than IPv6 works with
  const auto failed = take_over();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().text().find("nic0host: cannot put address 2001:db8"), std::string::npos)
      << failed.error().text();
  EXPECT_NE(failed.error().text().find("all is at nic0 as before"), std::string::npos) << failed.error().text();
  EXPECT_EQ(without_expiry(state_of("nic0")), without_expiry(before));
  EXPECT_EQ(state_of("nic0host"), nothing);
  EXPECT_TRUE(standing_twins(*requests_)->empty());
}

TEST_F(TwinAddresses, what_a_crash_leaves_behind_is_completed_and_given_back) {
  configure_nic();
  sh("sysctl -qw net.ipv4.conf.nic0.arp_ignore=2 net.ipv4.conf.nic0.rp_filter=2 net.ipv6.conf.nic0.accept_ra=0");
  const std::string before = state_of("nic0");
  ASSERT_TRUE(take_over());
  EXPECT_EQ(output_of("sysctl -n net.ipv4.conf.nic0host.arp_ignore net.ipv4.conf.nic0host.rp_filter"), "2\n2\n");
  EXPECT_EQ(output_of("sysctl -n net.ipv4.conf.nic0.arp_ignore net.ipv6.conf.nic0.disable_ipv6"), "8\n1\n");
  // As after a crash in the middle of a move: some of it is at the NIC, or at both.
  sh("ip addr add 198.51.100.1 peer 198.51.100.2/32 dev nic0 && ip addr add 192.0.2.33/24 dev nic0");
  sh("ip addr del 198.51.100.1 peer 198.51.100.2/32 dev nic0host");
  const auto again = take_over();
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(again->state.host.addresses.size(), 7u) << "all that the twin has now";
  EXPECT_EQ(*standing_twins(*requests_), (std::vector<StandingTwin>{{"nic0host", "nic0"}}));
  sh("ip addr del 192.0.2.33/24 dev nic0host");
  ASSERT_TRUE(give_back());
  EXPECT_EQ(output_of("sysctl -n net.ipv4.conf.nic0.arp_ignore net.ipv4.conf.nic0.rp_filter "
                      "net.ipv6.conf.nic0.disable_ipv6 net.ipv6.conf.nic0.accept_ra"),
            "2\n2\n0\n0\n");
  for (const char* address : {"192.0.2.1/24", "192.0.2.9/24", "198.51.100.1 peer", "2001:db8::1/64"}) {
    EXPECT_NE(output_of("ip -o addr show dev nic0").find(address), std::string::npos) << address;
  }
  EXPECT_TRUE(standing_twins(*requests_)->empty());
}

TEST_F(TwinAddresses, a_twin_that_is_made_again_gets_everything_again) {
  configure_nic();
  const std::string before = state_of("nic0");
  const auto taken = take_over();
  ASSERT_TRUE(taken);
  sh("ip link del nic0host");
  make_twin();
  EXPECT_TRUE(kernel_->put_noted_addresses("nic0host")) << "of which this one has noted nothing";
  EXPECT_EQ(output_of("ip -o addr show dev nic0host scope global"), "");
  const auto put = put_at_new_twin(*requests_, taken->state, "nic0host");
  ASSERT_TRUE(put) << put.error().text();
  EXPECT_EQ(without_expiry(state_of("nic0host")), without_expiry(before));
}

TEST_F(TwinAddresses, what_the_twin_has_got_since_is_put_again_where_it_was_noted) {
  configure_nic();
  const auto taken = kernel_->take_over_addresses("nic0", "nic0host");
  ASSERT_TRUE(taken) << taken.error().text();
  EXPECT_TRUE(taken->empty());
  sh("sysctl -qw net.ipv4.conf.nic0host.arp_announce=2");
  sh("ip addr add 192.0.2.44/24 dev nic0host && ip route del 203.0.113.0/24");
  ASSERT_TRUE(kernel_->note_addresses("nic0host"));
  const std::string before = state_of("nic0host");
  sh("ip link del nic0host");
  EXPECT_FALSE(kernel_->note_addresses("nic0host")) << "what was noted stays";
  make_twin();
  EXPECT_FALSE(kernel_->note_addresses("nic0host")) << "what was noted stays";
  ASSERT_TRUE(kernel_->put_noted_addresses("nic0host"));
  EXPECT_EQ(without_expiry(state_of("nic0host")), without_expiry(before));
  EXPECT_EQ(*kernel_->standing_twins(), (std::vector<StandingTwin>{{"nic0host", "nic0"}}));
  ASSERT_TRUE(kernel_->give_back_addresses("nic0host"));
  EXPECT_EQ(without_expiry(state_of("nic0")), without_expiry(before));
  EXPECT_EQ(output_of("sysctl -n net.ipv4.conf.nic0.arp_announce net.ipv4.conf.nic0.arp_ignore"), "2\n0\n");
  ASSERT_TRUE(kernel_->put_noted_addresses("nic0host")) << "given back is forgotten";
  EXPECT_EQ(output_of("ip -o addr show dev nic0host scope global"), "");
}

TEST_F(TwinAddresses, a_nic_that_is_down_is_set_up_to_get_them_back) {
  configure_nic();
  const std::string before = state_of("nic0");
  ASSERT_TRUE(take_over());
  sh("ip link set nic0 down");
  const Status given = give_back();
  ASSERT_TRUE(given.ok()) << given.error().text();
  EXPECT_EQ(without_expiry(state_of("nic0")), without_expiry(before));
}

TEST_F(TwinAddresses, where_the_nic_is_gone_everything_stays_at_the_twin) {
  configure_nic();
  ASSERT_TRUE(take_over());
  const std::string at_twin = state_of("nic0host");
  sh("ip link del nic0");
  const auto failed = give_back();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().where, "nic0");
  EXPECT_EQ(without_expiry(state_of("nic0host")), without_expiry(at_twin));
}

TEST_F(TwinAddresses, what_is_no_twin_takes_nothing) {
  sh("ip link add other0 type veth peer name other1 && ip link set other0 up");
  sh("ip addr add 192.0.2.1/24 dev nic0");
  const auto error_of = [&](const char* nic, const char* twin) {
    const auto taken = take_over_addresses(*requests_, nic, twin);
    return taken ? std::string("none") : taken.error().text();
  };
  EXPECT_NE(error_of("nic0", "other0").find("other0: it is not a TAP"), std::string::npos);
  EXPECT_NE(error_of("nic0", "none0").find("none0: there is no such interface"), std::string::npos);
  EXPECT_NE(error_of("none0", "nic0host").find("none0: there is no such interface"), std::string::npos);
  sh("ip link set nic0host down");
  EXPECT_NE(error_of("nic0", "nic0host").find("nic0host: it is down"), std::string::npos);
  sh("ip link set nic0host up");
  ASSERT_TRUE(take_over());
  EXPECT_NE(error_of("other0", "nic0host").find("nic0host: it stands in for nic0"), std::string::npos);
}

TEST_F(TwinAddresses, what_the_nic_receives_is_answered_once_by_the_twin) {
  sh("ip addr add 192.0.2.1/24 dev nic0 && ip addr add 2001:db8::1/64 dev nic0 nodad");
  ASSERT_TRUE(take_over());
  connect();
  peer_->in([] {
    for (const char* address : {"192.0.2.1", "2001:db8::1"}) {
      const std::string text = output_of(std::string("ping -c 5 -i 0.05 -W 30 ") + address);
      EXPECT_NE(text.find("5 packets transmitted, 5 received,"), std::string::npos) << text;
      EXPECT_EQ(text.find("DUP!"), std::string::npos) << text;
    }
  });
  ASSERT_TRUE(give_back());
  wire_.reset();
  peer_->in([] {
    sh("ip neigh flush dev far0; ping -q -c 1 -W 30 192.0.2.1 > /dev/null && ping -q -c 1 -W 30 2001:db8::1 > "
       "/dev/null");
  });
}

TEST_F(TwinAddresses, programs_of_others_at_the_ingress_stay_and_one_in_the_first_place_is_an_error) {
  const auto nic = kernel_->link("nic0");
  ASSERT_TRUE(nic);
  EXPECT_TRUE(allow_ingress(*requests_, *nic)) << "there is nothing yet";
  sh("tc qdisc add dev nic0 clsact && tc filter add dev nic0 ingress pref 7 protocol all u32 match u32 0 0 classid "
     "1:1");
  ASSERT_TRUE(drop_ingress(*requests_, *nic));
  ASSERT_TRUE(drop_ingress(*requests_, *nic)) << "once is enough";
  EXPECT_NE(output_of("tc filter show dev nic0 ingress").find("isthmus-twin"), std::string::npos);
  ASSERT_TRUE(allow_ingress(*requests_, *nic));
  const std::string left = output_of("tc filter show dev nic0 ingress");
  EXPECT_EQ(left.find("isthmus-twin"), std::string::npos) << left;
  EXPECT_NE(left.find("pref 7 u32"), std::string::npos) << left;
  sh("tc filter add dev nic0 ingress pref 1 protocol all handle 1 bpf bytecode '1,6 0 0 0' ");
  const auto refused = drop_ingress(*requests_, *nic);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text().find("has the first place at its ingress"), std::string::npos)
      << refused.error().text();
}

// A stream through both moves; the host's end is `own`.
void stream_through(const NetworkNamespace& peer, int family, const sockaddr* own, socklen_t size,
                    const std::vector<std::function<void()>>& moves) {
  const int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener, own, size), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  std::atomic<std::uint64_t> received{0};
  std::atomic<bool> wrong{false}, stop{false};
  std::thread far([&] {
    peer.enter();
    const int to = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(to, own, size), 0);
    std::array<std::uint8_t, 4096> bytes;
    for (std::uint64_t at = 0; !stop;) {
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>((at + i) * 2654435761u >> 13);
      }
      const ssize_t sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        break;
      }
      at += static_cast<std::uint64_t>(sent);
    }
    close(to);
  });
  const int connection = accept(listener, nullptr, nullptr);
  std::thread near([&] {
    std::array<std::uint8_t, 16384> bytes;
    for (ssize_t length; (length = recv(connection, bytes.data(), bytes.size(), 0)) > 0;) {
      for (ssize_t i = 0; i < length; ++i) {
        const std::uint64_t at = received + static_cast<std::uint64_t>(i);
        wrong = wrong || bytes[static_cast<std::size_t>(i)] != static_cast<std::uint8_t>(at * 2654435761u >> 13);
      }
      received += static_cast<std::uint64_t>(length);
    }
  });
  const auto goes_on = [&] {
    const std::uint64_t before = received;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (received < before + 200'000 && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return received >= before + 200'000;
  };
  EXPECT_TRUE(goes_on());
  for (const auto& move : moves) {
    move();
    EXPECT_TRUE(goes_on());
  }
  stop = true;
  shutdown(connection, SHUT_RDWR);
  far.join();
  near.join();
  EXPECT_FALSE(wrong);
  close(connection);
  close(listener);
}

TEST_F(TwinAddresses, a_tcp_stream_of_the_host_goes_on_through_both_moves) {
  sh("ip addr add 192.0.2.1/24 dev nic0 && ip addr add 2001:db8::1/64 dev nic0 nodad");
  connect();
  const std::vector<std::function<void()>> moves = {
      [&] { EXPECT_TRUE(take_over()); }, [&] { EXPECT_TRUE(give_back()); }, [&] { EXPECT_TRUE(take_over()); }};
  sockaddr_in own4{};
  own4.sin_family = AF_INET;
  own4.sin_port = htons(7000);
  inet_pton(AF_INET, "192.0.2.1", &own4.sin_addr);
  stream_through(*peer_, AF_INET, reinterpret_cast<const sockaddr*>(&own4), sizeof own4, moves);
  ASSERT_TRUE(give_back());
  sockaddr_in6 own6{};
  own6.sin6_family = AF_INET6;
  own6.sin6_port = htons(7000);
  inet_pton(AF_INET6, "2001:db8::1", &own6.sin6_addr);
  stream_through(*peer_, AF_INET6, reinterpret_cast<const sockaddr*>(&own6), sizeof own6, moves);
}

}  // namespace
}  // namespace isthmus::test
