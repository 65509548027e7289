#include "control/machine/system_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isthmus::test {
namespace {

TEST(CpuList, RangesAndNumbersAreReadSortedAndOnce) {
  struct Row {
    const char* text;
    std::vector<int> cpus;
  };
  for (const Row& row : std::vector<Row>{{"0-3,8\n", {0, 1, 2, 3, 8}},
                                         {"5", {5}},
                                         {"", {}},
                                         {"\n", {}},
                                         {"3,1-2,2", {1, 2, 3}},
                                         {"3-1", {}},
                                         {"a-b,7", {7}},
                                         {"1-", {}},
                                         {"-1", {}},
                                         {",,2,", {2}},
                                         {"0-99999999999999", {}},
                                         {"9000", {}}}) {
    EXPECT_EQ(read_cpu_list(row.text), row.cpus) << row.text;
  }
}

TEST(CpuList, IsWrittenAsTheKernelWritesIt) {
  for (const char* text : {"0-3,8", "1", "0-1,3,5-7", ""}) {
    EXPECT_EQ(cpu_list_text(read_cpu_list(text)), text);
  }
}

TEST(LineNumber, IsTheFirstWordBehindTheKey) {
  const std::string text =
      "MemTotal:       24000 kB\nMemAvailable:\t 12 kB\nCapEff:\t000001ffffffffff\nBroken:\nBad: x1\n";
  EXPECT_EQ(read_line_number(text, "MemTotal"), 24000U);
  EXPECT_EQ(read_line_number(text, "MemAvailable"), 12U);
  EXPECT_EQ(read_line_mask(text, "CapEff"), 0x1ffffffffffU);
  for (const char* key : {"Mem", "Broken", "Bad", "None", ""}) {
    EXPECT_EQ(read_line_number(text, key), std::nullopt) << key;
  }
  EXPECT_EQ(read_line_number("MemTotal: 99999999999999999999", "MemTotal"), std::nullopt);
}

TEST(KernelRelease, HasMajorAndMinor) {
  EXPECT_EQ(read_kernel_version("6.1.0-18-amd64"), (KernelVersion{6, 1}));
  EXPECT_EQ(read_kernel_version("5.10"), (KernelVersion{5, 10}));
  EXPECT_LT((KernelVersion{5, 18}), (KernelVersion{6, 3}));
  for (const char* text : {"", "6", "x.1", "6.", ".1", "6.x"}) {
    EXPECT_EQ(read_kernel_version(text), std::nullopt) << text;
  }
}

TEST(CpuQuota, IsAShareOfCpus) {
  EXPECT_EQ(read_cpu_quota("200000 100000\n"), 2.0);
  for (const char* text : {"max 100000", "", "1", "1 0", "a b", "1 2 3"}) {
    EXPECT_EQ(read_cpu_quota(text), std::nullopt) << text;
  }
}

TEST(MemoryLimit, IsANumberOfBytesOrNone) {
  EXPECT_EQ(read_memory_limit("536870912\n"), 536870912U);
  for (const char* text : {"max\n", "", "12x", "-1"}) {
    EXPECT_EQ(read_memory_limit(text), std::nullopt) << text;
  }
}

TEST(CpuList, ALongTextTakesNoMoreThanAllCpus) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) {
    text += "0-8191,";
  }
  EXPECT_EQ(read_cpu_list(text).size(), static_cast<std::size_t>(kMostCpus));
}

TEST(Interrupts, AreThoseOfTheInterfaceOrItsBus) {
  const std::string text =
      "            CPU0       CPU1\n"
      "  24:          0          1   PCI-MSI 1  eth0-TxRx-0\n"
      "  25:          0          1   PCI-MSI 2  eth01\n"
      "  26:          0          1   PCI-MSI 3  eth0\n"
      "  27:          0          1   PCI-MSI 4  mlx5_comp0@pci:0000:00:02.0\n"
      " NMI:          0          0   Non-maskable interrupts\n"
      "broken eth0\n";
  EXPECT_EQ(read_interrupts(text, "eth0", ""), (std::vector<unsigned>{24, 26}));
  EXPECT_EQ(read_interrupts(text, "eth0", "0000:00:02.0"), (std::vector<unsigned>{24, 26, 27}));
  EXPECT_EQ(read_interrupts(text, "", ""), std::vector<unsigned>{});
}

TEST(Sockets, AreReadOfBothFamiliesAndBrokenLinesAreLeftOut) {
  const auto ipv4 = read_sockets(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:26FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
      "   1: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
      "   2: 0100007F 00000000:0000 0A\n   3: zz:1 0 0A\n   4:\n");
  ASSERT_EQ(ipv4.size(), 2U);
  EXPECT_EQ(ipv4[0].address, IpAddress::parse("127.0.0.1"));
  EXPECT_EQ(ipv4[0].port, L4Port{9979});
  EXPECT_TRUE(ipv4[0].listens);
  EXPECT_EQ(ipv4[1].port, L4Port{8472});
  EXPECT_FALSE(ipv4[1].listens);
  const auto ipv6 =
      read_sockets("   0: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0\n");
  ASSERT_EQ(ipv6.size(), 1U);
  EXPECT_EQ(ipv6[0].address, IpAddress::parse("2001:db8::1"));
}

TEST(ServiceSection, TakesTheLastValueAndJoinsLists) {
  const auto values = read_service_section(
      {"[Unit]\nUser=no\n[Service]\nUser = isthmus\nAmbientCapabilities=CAP_BPF\nAmbientCapabilities=CAP_NET_RAW\n"
       "#User=comment\nLimitMEMLOCK=8M\n[Install]\nUser=no\n",
       "[Service]\nLimitMEMLOCK=infinity\nAmbientCapabilities=\nAmbientCapabilities=CAP_NET_ADMIN\nbroken\n=\n"});
  EXPECT_EQ(values.at("User"), "isthmus");
  EXPECT_EQ(values.at("LimitMEMLOCK"), "infinity");
  EXPECT_EQ(values.at("AmbientCapabilities"), "CAP_BPF\nCAP_NET_RAW\n\nCAP_NET_ADMIN");
  EXPECT_TRUE(read_service_section({"", "[Service"}).empty());
  const auto longer =
      read_service_section({"[Service]\nAmbientCapabilities=CAP_BPF \\\n# why\n  CAP_NET_RAW\n=x\nUser=a\\"});
  EXPECT_EQ(longer, (std::map<std::string, std::string>{{"AmbientCapabilities", "CAP_BPF  CAP_NET_RAW"}}));
}

// As systemd.exec(5) has it.
TEST(Capabilities, AreWhatTheLinesComeTo) {
  constexpr std::uint64_t kAll = ~std::uint64_t{0}, kAdmin = 1ULL << 12, kRaw = 1ULL << 13, kBpf = 1ULL << 39;
  EXPECT_EQ(read_capabilities("CAP_NET_ADMIN cap_bpf", kAll), kAdmin | kBpf);
  EXPECT_EQ(read_capabilities("CAP_NET_ADMIN\nCAP_BPF", 0), kAdmin | kBpf);
  EXPECT_EQ(read_capabilities("\"CAP_NET_ADMIN\" 'CAP_BPF'", 0), kAdmin | kBpf);
  EXPECT_EQ(read_capabilities("~CAP_NET_RAW", kAll), kAll & ~kRaw);
  EXPECT_EQ(read_capabilities("CAP_NET_ADMIN CAP_NET_RAW\n~CAP_NET_RAW", kAll), kAdmin);
  EXPECT_EQ(read_capabilities("", kAll), 0U);
  EXPECT_EQ(read_capabilities("CAP_NET_ADMIN\n\nCAP_BPF", kAll), kBpf);
  EXPECT_EQ(read_capabilities("CAP_NET_ADMIN\n~", kAll), kAll);
  EXPECT_EQ(read_capabilities("CAP_SYS_BOOT", kAll) & (kAdmin | kRaw | kBpf), 0U);
}

TEST(Unit, IsThatOfTheConfiguration) {
  for (const char* file : {"", "/etc/isthmus/gateway.yaml", "/etc/isthmus/.yaml", "/etc/isthmus/a/b.yaml",
                           "gateway.yaml", "/etc/isthmus/b.yml", "/srv/b.yaml"}) {
    EXPECT_EQ(unit_of(file), "isthmus.service") << file;
  }
  EXPECT_EQ(unit_of("/etc/isthmus/b.yaml"), "isthmus@b.service");
}

// No text of any length or bytes may do more than be left out.
TEST(SystemText, AnyTextCanBeRead) {
  const std::string whole =
      "0-3,8\n  24: 1 eth0-1 PCI\n   0: 0100007F:26FB 00000000:0000 0A\nMemTotal: 1 kB\n[Service]\nA=B\n";
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    for (const char put : {'\0', '\n', ':', '-', '\xff'}) {
      std::string text = whole.substr(0, cut) + put + whole.substr(cut);
      static_cast<void>(read_sockets(text));
      static_cast<void>(read_interrupts(text, "eth0", "x"));
      static_cast<void>(read_line_number(text, "MemTotal"));
      static_cast<void>(read_kernel_version(text));
      static_cast<void>(read_cpu_quota(text));
      static_cast<void>(read_service_section({text}));
      EXPECT_LE(read_cpu_list(text).size(), static_cast<std::size_t>(kMostCpus));
    }
  }
}

}  // namespace
}  // namespace isthmus::test
