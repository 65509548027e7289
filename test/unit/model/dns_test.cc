// The DNS records file, and a real dnsmasq that serves it: additions, changes and removals are picked up without a
// signal.
#include "control/sink/dns.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using namespace std::chrono_literals;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = "/tmp/ist-dns-XXXXXX";
    path_ = mkdtemp(name.data());
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string content(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

ServiceView named(const std::string& name, const std::vector<std::string>& vips) {
  ServiceView view;
  view.name = {"shop", name};
  for (const std::string& vip : vips) {
    view.vips.push_back(ip(vip));
  }
  return view;
}

TEST(DnsSink, WritesOneLinePerVip) {
  TemporaryFolder folder;
  const std::string file = folder.file("created/global.hosts");
  DnsSink sink(file, "clusterset.local");
  const auto written = sink.update({named("cart", {"10.200.0.10", "fd00:ff::a"}), named("none", {})});
  ASSERT_TRUE(written && *written);
  EXPECT_EQ(content(file),
            "# Global services of the fleet. Written by isthmus; changes made here are lost.\n"
            "10.200.0.10 cart.shop.svc.clusterset.local\n"
            "fd00:ff::a cart.shop.svc.clusterset.local\n");
  struct stat status {};
  stat(file.c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0644U) << "the DNS server may run as another user";
}

TEST(DnsSink, WritesOnlyChangesEvenAfterARestart) {
  TemporaryFolder folder;
  const std::string file = folder.file("global.hosts");
  DnsSink first(file, "clusterset.local");
  EXPECT_TRUE(*first.update({named("cart", {"10.200.0.10"})}));
  EXPECT_FALSE(*first.update({named("cart", {"10.200.0.10"})}));
  DnsSink restarted(file, "clusterset.local");
  EXPECT_FALSE(*restarted.update({named("cart", {"10.200.0.10"})}));
  EXPECT_TRUE(*restarted.update({}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.file("")), {}), 1) << "no temporary files remain";
}

TEST(DnsSink, ReportsAWriteErrorAndRetries) {
  TemporaryFolder folder;
  std::ofstream(folder.file("occupied")) << "a file, not a folder";
  DnsSink sink(folder.file("occupied/global.hosts"), "clusterset.local");
  const auto failed = sink.update({named("cart", {"10.200.0.10"})});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().text(),
            folder.file("occupied/.global.hosts.new") +
                ": cannot write DNS records: Not a directory (check dns.file and that its folder "
                "can be written)");
  std::filesystem::remove(folder.file("occupied"));
  EXPECT_TRUE(*sink.update({named("cart", {"10.200.0.10"})}));
}

TEST(DnsSink, FollowsNoLinkAndReplacesOnlyRegularFiles) {
  TemporaryFolder folder;
  const std::string file = folder.file("global.hosts"), other = folder.file("other");
  std::ofstream(other) << "mine";
  const auto refused = [&](const std::string& at) {
    DnsSink sink(file, "clusterset.local");
    const auto written = sink.update({named("cart", {"10.200.0.10"})});
    ASSERT_FALSE(written) << at;
    EXPECT_EQ(written.error().text(),
              at +
                  ": the DNS records would replace something that is no regular file (give dns.file a path of its own, "
                  "or remove what is there)");
    EXPECT_FALSE(sink.synced());
    EXPECT_EQ(content(other), "mine");
  };
  for (const std::string& at : {file, folder.file(".global.hosts.new")}) {
    std::filesystem::create_symlink(other, at);
    refused(at);
    EXPECT_TRUE(std::filesystem::is_symlink(at)) << "it is not ours to remove";
    std::filesystem::remove(at);
    ASSERT_EQ(mkfifo(at.c_str(), 0600), 0);
    refused(at);
    EXPECT_TRUE(std::filesystem::is_fifo(at));
    std::filesystem::remove(at);
  }
}

TEST(DnsSink, LeavesNoPartAndWritesAgainOnceThereIsRoom) {
  TemporaryFolder folder;
  const std::string file = folder.file("global.hosts");
  DnsSink sink(file, "clusterset.local");
  std::vector<ServiceView> services;
  for (int i = 0; i < 100; ++i) {
    services.push_back(named("cart" + std::to_string(i), {"10.200.0.10"}));
  }
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit full{1000, before.rlim_max};  // of which the kernel lets a part be written, as on a full device
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  EXPECT_FALSE(sink.update(services));
  EXPECT_FALSE(sink.synced());
  EXPECT_TRUE(std::filesystem::is_empty(folder.file("")));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_TRUE(*sink.update(services));
  EXPECT_TRUE(sink.synced());
}

// --- dnsmasq

constexpr int kFirstPort = 15353, kPorts = 40;

class Dnsmasq {
 public:
  // On 127.0.0.1 and the first free port.
  explicit Dnsmasq(const std::string& folder) {
    for (int port = kFirstPort; port < kFirstPort + kPorts && pid_ < 0; ++port) {
      start(folder, port);
    }
  }
  ~Dnsmasq() {
    if (pid_ > 0) {
      kill(pid_, SIGTERM);
      waitpid(pid_, nullptr, 0);
    }
  }
  Dnsmasq(const Dnsmasq&) = delete;
  Dnsmasq& operator=(const Dnsmasq&) = delete;
  [[nodiscard]] bool running() const { return pid_ > 0; }

  // The answer's addresses as text, or "NXDOMAIN" or "NODATA"; empty after a timeout.
  [[nodiscard]] std::string ask(const std::string& name, std::uint16_t type = 1) const {
    const std::string query = make_query(name, type);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port_));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::string answer;
    unsigned char reply[512];
    if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 &&
        send(fd, query.data(), query.size(), MSG_NOSIGNAL) > 0) {
      pollfd wait{fd, POLLIN, 0};
      if (poll(&wait, 1, 500) == 1) {
        const ssize_t n = recv(fd, reply, sizeof reply, 0);
        answer = n < 12 ? "" : read_answer(reply, static_cast<std::size_t>(n), query.size());
      }
    }
    close(fd);
    return answer;
  }

 private:
  void start(const std::string& folder, int port) {
    const pid_t child = fork();
    if (child == 0) {
      const std::string port_option = "--port=" + std::to_string(port), hosts = "--hostsdir=" + folder;
      execlp("dnsmasq", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
             "--bind-interfaces", "--listen-address=127.0.0.1", "--user=root", "--pid-file=", port_option.c_str(),
             "--local=/clusterset.local/", hosts.c_str(), static_cast<char*>(nullptr));
      _exit(127);
    }
    pid_ = child;
    port_ = port;
    for (int i = 0; i < 100; ++i) {
      if (waitpid(child, nullptr, WNOHANG) == child) {
        pid_ = -1;  // the port is taken, or there is no dnsmasq
        return;
      }
      if (!ask("ready.clusterset.local").empty()) {
        return;
      }
      std::this_thread::sleep_for(20ms);
    }
  }

  static std::string make_query(const std::string& name, std::uint16_t type) {
    std::string query("\x12\x34\x01\0\0\1\0\0\0\0\0\0", 12);
    std::size_t from = 0;
    while (from < name.size()) {
      const std::size_t dot = std::min(name.find('.', from), name.size());
      query += static_cast<char>(dot - from);
      query += name.substr(from, dot - from);
      from = dot + 1;
    }
    query += '\0';
    for (const std::uint16_t word : {type, std::uint16_t{1}}) {
      query += static_cast<char>(word >> 8);
      query += static_cast<char>(word & 0xff);
    }
    return query;
  }

  // Answers repeat the question, then use compressed names: 2 bytes, type, class, time to live, length, data.
  static std::string read_answer(const unsigned char* reply, std::size_t size, std::size_t question_end) {
    if ((reply[3] & 0x0f) == 3) {
      return "NXDOMAIN";
    }
    std::set<std::string> addresses;
    const unsigned answers = reply[6] * 256U + reply[7];
    std::size_t at = question_end;
    for (unsigned i = 0; i < answers && at + 12 <= size; ++i) {
      const std::size_t length = reply[at + 10] * 256U + reply[at + 11];
      char text[INET6_ADDRSTRLEN];
      inet_ntop(length == 16 ? AF_INET6 : AF_INET, reply + at + 12, text, sizeof text);
      addresses.insert(text);
      at += 12 + length;
    }
    std::string all;
    for (const std::string& address : addresses) {
      all += (all.empty() ? "" : " ") + address;
    }
    return all.empty() ? "NODATA" : all;
  }

  pid_t pid_ = -1;
  int port_ = 0;
};

// Asks until the answer is as expected or five seconds have passed; returns the last answer.
std::string ask_until(const Dnsmasq& dns, const std::string& name, const std::string& expected,
                      std::uint16_t type = 1) {
  std::string answer;
  for (int i = 0; i < 250; ++i) {
    answer = dns.ask(name, type);
    if (answer == expected) {
      break;
    }
    std::this_thread::sleep_for(20ms);
  }
  return answer;
}

TEST(DnsSink, IsServedByDnsmasqWithAdditionsChangesAndRemovals) {
  constexpr std::uint16_t kAaaa = 28;
  const std::string cart = "cart.shop.svc.clusterset.local", bank = "bank.shop.svc.clusterset.local";
  TemporaryFolder folder;
  DnsSink sink(folder.file("global.hosts"), "clusterset.local");
  ASSERT_TRUE(sink.update({named("cart", {"10.200.0.10", "fd00:ff::a"})}));
  const Dnsmasq dns(folder.file(""));
  if (!dns.running()) {
    GTEST_SKIP() << "no dnsmasq here (package dnsmasq-base)";
  }
  EXPECT_EQ(ask_until(dns, cart, "10.200.0.10"), "10.200.0.10");
  EXPECT_EQ(ask_until(dns, cart, "fd00:ff::a", kAaaa), "fd00:ff::a");
  EXPECT_EQ(ask_until(dns, bank, "NXDOMAIN"), "NXDOMAIN");

  ASSERT_TRUE(sink.update({named("bank", {"10.200.0.11"}), named("cart", {"10.200.0.10", "fd00:ff::a"})}));
  EXPECT_EQ(ask_until(dns, bank, "10.200.0.11"), "10.200.0.11") << "added";
  EXPECT_EQ(ask_until(dns, cart, "10.200.0.10"), "10.200.0.10");

  ASSERT_TRUE(sink.update({named("bank", {"10.200.0.12"}), named("cart", {"10.200.0.10"})}));
  EXPECT_EQ(ask_until(dns, bank, "10.200.0.12"), "10.200.0.12") << "changed: the old address is no longer served";
  EXPECT_EQ(ask_until(dns, cart, "NODATA", kAaaa), "NODATA") << "one of two addresses removed";

  ASSERT_TRUE(sink.update({named("cart", {"10.200.0.10"})}));
  EXPECT_EQ(ask_until(dns, bank, "NXDOMAIN"), "NXDOMAIN") << "removed";
  EXPECT_EQ(ask_until(dns, cart, "10.200.0.10"), "10.200.0.10");

  ASSERT_TRUE(sink.update({}));
  EXPECT_EQ(ask_until(dns, cart, "NXDOMAIN"), "NXDOMAIN") << "the last one removed";
}

}  // namespace
}  // namespace isthmus
