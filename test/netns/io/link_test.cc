// The steer program attached by a pinned BPF link, over a BPF file system of this test's own.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "lab.h"
#include "xdp/abi.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/steer_program.h"
#include "xdp/loader/xdp_attachment.h"

namespace isthmus {
namespace {

using namespace lab;

class LinkTest : public testing::Test {
 protected:
  void SetUp() override {
    have_bpf_file_system(true);
    lab_ = std::make_unique<Lab>();
    lab_->at("gateway");
  }
  void TearDown() override {
    lab_.reset();
    have_bpf_file_system(false);
  }
  static std::optional<AttachedProgram> attached() {
    auto found = attached_program(*find_interface("u0"));
    EXPECT_TRUE(found.ok());
    return found.ok() ? *std::move(found) : std::nullopt;
  }

  std::unique_ptr<Lab> lab_;
};

TEST_F(LinkTest, NobodyElseCanTakeTheProgramOffOrReplaceIt) {
  for (const XdpMode mode : {XdpMode::kNative, XdpMode::kGeneric}) {
    auto device = open_device({.interface = "u0", .mode = mode});
    ASSERT_TRUE(device && device->steer(left_rules()).ok());
    ASSERT_TRUE(attached().has_value());
    const std::uint32_t id = attached()->id;
    ASSERT_TRUE(link_of_program(*find_interface("u0"), id).has_value());
    EXPECT_EQ(attached()->native, mode == XdpMode::kNative);
    // For the mode in which no program runs, this succeeds and does nothing.
    for (const char* kind : {"xdp", "xdpdrv", "xdpgeneric"}) {
      static_cast<void>(std::system((std::string("ip link set dev u0 ") + kind + " off 2> /dev/null").c_str()));
      ASSERT_TRUE(attached().has_value()) << kind;
      EXPECT_EQ(attached()->id, id) << kind;
    }
    const bpf_insn pass[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    const UniqueFd foreign(bpf_prog_load(BPF_PROG_TYPE_XDP, "their_filter", "GPL", pass, 2, nullptr));
    EXPECT_FALSE(attach_program(*find_interface("u0"), foreign.get(), mode == XdpMode::kNative).ok());
    EXPECT_EQ(attached()->id, id);
    device.reset();
    ASSERT_TRUE(detach_steer("u0").ok());
    EXPECT_FALSE(attached().has_value());
  }
}

TEST_F(LinkTest, TheProgramStaysWithoutItsEngineAndASuccessorReplacesItInPlace) {
  open_device({.interface = "u0"}).reset();
  ASSERT_TRUE(attached().has_value());
  const std::uint32_t left_behind = attached()->id;
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device);
  EXPECT_EQ(attached()->id, left_behind);
  ASSERT_TRUE(device->steer(left_rules()).ok());
  EXPECT_NE(attached()->id, left_behind);
  EXPECT_TRUE(link_of_program(*find_interface("u0"), attached()->id).has_value());
  EXPECT_FALSE(link_of_program(*find_interface("u0"), left_behind).has_value());
  EXPECT_TRUE(device->check().up);
}

TEST_F(LinkTest, AForcedDetachAndAnInterfaceMadeAnewAreFollowed) {
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  Forwarder forwarder(*device, nullptr);
  ASSERT_EQ(bpf_link_detach(link_of_program(*find_interface("u0"), attached()->id)->get()), 0);
  ASSERT_FALSE(attached().has_value());
  EXPECT_TRUE(device->check().up);
  ASSERT_TRUE(attached().has_value());
  EXPECT_TRUE(link_of_program(*find_interface("u0"), attached()->id).has_value());
  lab_->remove_left();
  lab_->make_left();
  ASSERT_TRUE(device->check().reopen);
  ASSERT_TRUE(device->reopen().ok());
  ASSERT_TRUE(attached().has_value());
  EXPECT_TRUE(link_of_program(*find_interface("u0"), attached()->id).has_value());
}

TEST_F(LinkTest, AProgramThatAnEarlierRunAttachedByNetlinkIsReplacedByNetlink) {
  have_bpf_file_system(false);
  open_device({.interface = "u0"}).reset();
  have_bpf_file_system(true);
  const std::uint32_t left_behind = attached()->id;
  ASSERT_FALSE(link_of_program(*find_interface("u0"), left_behind).has_value());
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  EXPECT_NE(attached()->id, left_behind);
  EXPECT_TRUE(device->check().up);
}

// Without the right to open programs and maps by their numbers, in the thread that runs this.
class WithoutSystemAdministration {
 public:
  WithoutSystemAdministration() {
    syscall(SYS_capget, &header_, before_.data());
    auto without = before_;
    without[0].effective &= ~(1u << CAP_SYS_ADMIN);
    EXPECT_EQ(syscall(SYS_capset, &header_, without.data()), 0);
  }
  ~WithoutSystemAdministration() { syscall(SYS_capset, &header_, before_.data()); }
  WithoutSystemAdministration(const WithoutSystemAdministration&) = delete;
  WithoutSystemAdministration& operator=(const WithoutSystemAdministration&) = delete;

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> before_{};
};

TEST_F(LinkTest, ASuccessorThatIsNotSystemAdministratorReplacesTheProgramInPlaceAndCountsOn) {
  const WithoutSystemAdministration less;
  open_device({.interface = "u0"}).reset();
  ASSERT_TRUE(attached().has_value());
  const std::uint32_t left_behind = attached()->id;
  EXPECT_TRUE(attached()->is_steer());
  ASSERT_FALSE(map_of_program(attached()->fd.get(), ISTHMUS_COUNTERS_MAP).has_value()) << "it may open maps";
  const auto counters = map_of(*find_interface("u0"), *attached(), ISTHMUS_COUNTERS_MAP);
  ASSERT_TRUE(counters.has_value());
  std::vector<isthmus_steer_counters> counted(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  counted.front().not_a_peer = 7;
  const std::uint32_t only = 0;
  ASSERT_EQ(bpf_map_update_elem(counters->get(), &only, counted.data(), BPF_ANY), 0);
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  EXPECT_NE(attached()->id, left_behind);
  EXPECT_TRUE(link_of_program(*find_interface("u0"), attached()->id).has_value());
  EXPECT_EQ(steer_counters("u0")->not_a_peer, 7u);
  EXPECT_TRUE(device->check().up);
  device.reset();
  EXPECT_TRUE(detach_steer("u0").ok());
  EXPECT_FALSE(attached().has_value());
}

TEST_F(LinkTest, AForeignProgramIsLeftAloneByOneThatMayNotOpenIt) {
  const bpf_insn pass[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd foreign(bpf_prog_load(BPF_PROG_TYPE_XDP, "their_filter", "GPL", pass, 2, nullptr));
  ASSERT_TRUE(attach_program(*find_interface("u0"), foreign.get(), true).ok());
  const WithoutSystemAdministration less;
  auto program = SteerProgram::load({});
  ASSERT_TRUE(program.ok());
  const Status refused = (*program)->attach(*find_interface("u0"), XdpMode::kAuto);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().what.find("foreign XDP program"), std::string::npos) << refused.error().what;
}

// An engine's program on u0 with what it hands down; both end with this.
struct Forwarding {
  std::unique_ptr<KernelFlows> flows;
  std::unique_ptr<SteerProgram> program;
};

Forwarding forwarding_on_u0() {
  auto flows = KernelFlows::create(16);
  EXPECT_TRUE(flows.ok());
  auto program = SteerProgram::load({.kernel_flows = flows->get()});
  EXPECT_TRUE(program.ok());
  EXPECT_TRUE((*program)->attach(*find_interface("u0"), XdpMode::kAuto).ok());
  EXPECT_TRUE((*program)->join(false, Realm{}).ok());
  EXPECT_TRUE((*program)->apply(left_rules()).ok());
  return {*std::move(flows), *std::move(program)};
}

// Whether the program on u0 has isthmus_forward to call.
bool u0_forwards() {
  const auto attached = attached_program(*find_interface("u0"));
  const auto programs = map_of_program((*attached)->fd.get(), "isthmus_progs");
  const std::uint32_t place = 0;
  std::uint32_t id = 0;
  return bpf_map_lookup_elem(programs->get(), &place, &id) == 0;
}

TEST_F(LinkTest, ForwardingGoesOnWithoutTheEngineUntilAnotherReplacesIt) {
  for (int engine = 0; engine < 2; ++engine) {
    const Forwarding one = forwarding_on_u0();
    EXPECT_TRUE(u0_forwards());
  }
  EXPECT_TRUE(u0_forwards());
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  EXPECT_FALSE(u0_forwards()) << "it hands nothing down";
  const std::filesystem::path folder = std::string(kBpfFolder) + "/isthmus";
  const auto pins = [&] {
    return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
  };
  EXPECT_EQ(pins(), 4) << "the link's, the program's, and those of its heartbeats and counters";
  device.reset();
  forwarding_on_u0();
  EXPECT_EQ(pins(), 6) << "and of its programs and leases";
  ASSERT_TRUE(detach_steer("u0").ok());
  EXPECT_EQ(pins(), 0);
}

TEST_F(LinkTest, AnInterfaceWithADotInItsNameHasItsPins) {
  ASSERT_EQ(std::system("ip link set u0 down && ip link set u0 name u0.100 && ip link set u0.100 up"), 0);
  const Interface interface = *find_interface("u0.100");
  std::uint32_t id = 0;
  {
    auto program = SteerProgram::load({});
    ASSERT_TRUE(program && (*program)->attach(interface, XdpMode::kAuto).ok());
    id = (*attached_program(interface))->id;
    EXPECT_TRUE(link_of_program(interface, id).has_value());
  }
  const auto left = attached_program(interface);
  ASSERT_TRUE(left && left->has_value());
  EXPECT_EQ((*left)->id, id) << "it stays without the engine";
  ASSERT_TRUE(detach_steer("u0.100").ok());
  EXPECT_TRUE(std::filesystem::is_empty(std::string(kBpfFolder) + "/isthmus"));
}

TEST_F(LinkTest, WithoutABpfFileSystemForwardingEndsWithTheEngine) {
  have_bpf_file_system(false);
  {
    const Forwarding one = forwarding_on_u0();
    EXPECT_TRUE(u0_forwards());
  }
  EXPECT_TRUE(eventually([] { return !u0_forwards(); })) << "the kernel empties it in a work item of its own";
}

}  // namespace
}  // namespace isthmus
