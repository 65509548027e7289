// A machine on which all is well, and rows that each change one thing of it and say what doctor says then.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/doctor/checks.h"

namespace isthmus::test {

using Level = FindingLevel;
inline constexpr std::int64_t kNow = 1'800'000'000, kDay = 86'400;

inline InterfaceFacts interface_named(const std::string& name) {
  InterfaceFacts facts;
  facts.name = name;
  facts.link = LinkState{};
  facts.link->interface = name;
  facts.link->mtu = Bytes{1500};
  facts.link->up = facts.link->running = true;
  facts.addresses = {{*IpAddress::parse("192.0.2.1"), name, false, 24}};
  facts.device = DeviceFacts{};
  facts.device->driver = "driver";
  facts.device->abilities = XdpAbilities{true, true, true};
  facts.reverse_path = "0";
  return facts;
}

inline Facts good_machine() {
  Facts facts;
  facts.file = "/etc/isthmus/gateway.yaml";
  facts.config = GatewayConfig{};
  facts.config->name = "north-1";
  facts.config->cluster = "north";
  facts.config->underlay.interface = facts.config->local.device.interface = "eth0";
  facts.config->admin_socket = "/run/isthmus/north-1.sock";
  facts.config->translation_ipv4 = IpAddress::parse("10.3.255.1");
  facts.kernel = {"6.12.1-amd64", true, Availability::kYes, true, Availability::kYes};
  facts.process = {true, ~std::uint64_t{0}, ~std::uint64_t{0}, std::nullopt};
  facts.cpu.cpus = {{0, 1, 2, 3}, {0, 1, 2, 3}, {{0, {0, 1}}, {1, {0, 1}}, {2, {2, 3}}, {3, {2, 3}}}};
  facts.memory = {std::uint64_t{8} << 30, std::uint64_t{8} << 30, std::uint64_t{4} << 30};
  facts.underlay = interface_named("eth0");
  facts.addresses = facts.underlay->addresses;
  facts.sysctls = {{"ipv4/ip_forward", "1"}, {"ipv6/conf/all/forwarding", "1"}};
  facts.own = OwnGateway{};
  facts.own->underlay = *IpAddress::parse("192.0.2.1");
  facts.own->port = L4Port{8472};
  facts.hubs.emplace_back();
  facts.hubs[0].what = "folder";
  facts.hubs[0].where = "/hub";
  facts.hubs[0].said = "1 files";
  facts.clock_synchronised = Availability::kYes;
  facts.now = kNow;
  facts.state.directory = facts.state.directory_writable = true;
  facts.state.free = std::uint64_t{4} << 30;
  facts.state.known_directory = facts.state.known_writable = true;
  facts.admin.folder = facts.admin.folder_writable = facts.admin.group = true;
  return facts;
}

struct CheckRow {
  const char* check;
  Level level;  // the worst of what the check says
  std::function<void(Facts&)> change;
  const char *found, *fix;  // parts of what a finding of that level says
};

// Every row holds, and each of `checks` has one that is not well.
inline void expect_rows(const std::set<std::string>& checks, const std::vector<CheckRow>& rows) {
  std::set<std::string> bad;
  for (const CheckRow& row : rows) {
    Facts facts = good_machine();
    row.change(facts);
    const Finding* at = nullptr;
    Level worst = Level::kOk;
    std::string all;
    const std::vector<Finding> findings = examine(facts);
    for (const Finding& finding : findings) {
      if (finding.check == row.check) {
        worst = std::max(worst, finding.level);
        all += std::string(level_name(finding.level)) + " " + finding.found + " | " + finding.fix + "\n";
        const bool said = finding.found.find(row.found) != std::string::npos;
        at = finding.level == row.level && said ? &finding : at;
      }
    }
    EXPECT_EQ(worst, row.level) << row.check << ", " << row.found << ":\n" << all;
    ASSERT_NE(at, nullptr) << row.check << ", " << row.found << ":\n" << all;
    EXPECT_NE(at->fix.find(row.fix), std::string::npos) << row.check << ", " << row.fix << ":\n" << all;
    EXPECT_TRUE(row.level <= Level::kNote || (!at->why.empty() && !at->fix.empty())) << all;
    if (row.level != Level::kOk) {
      bad.insert(row.check);
    }
  }
  EXPECT_EQ(bad, checks);
}

}  // namespace isthmus::test
