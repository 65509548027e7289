#include "control/kernel/ingress_drop.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "control/kernel/owned_fd.h"

namespace isthmus {
namespace {

constexpr const char* kProgramName = "isthmus-twin";
constexpr const char* kDropFix = "it needs CAP_BPF and CAP_NET_ADMIN, and a kernel with CONFIG_NET_CLS_BPF";
// Before those of others, whose verdicts would let packets past it.
constexpr std::uint32_t kPreference = 1, kHandle = 1;

int load_program() {
  // r0 = TC_ACT_SHOT; exit
  const std::array program = {bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TC_ACT_SHOT},
                              bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  static constexpr char kLicense[] = "Apache-2.0";
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  attributes.insns = reinterpret_cast<std::uint64_t>(program.data());
  attributes.insn_cnt = program.size();
  attributes.license = reinterpret_cast<std::uint64_t>(&kLicense);
  return static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes));
}

tcmsg hook_of(const LinkState& interface) {
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = interface.index;
  header.tcm_handle = kHandle;
  header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
  header.tcm_info = TC_H_MAKE(kPreference << 16, htons(ETH_P_ALL));
  return header;
}

// The name of what stands at our place of the hook; empty: nothing.
Result<std::string> present(NetlinkRequests& requests, const LinkState& interface) {
  NetlinkMessage message(RTM_GETTFILTER, 0);
  message.header<tcmsg>() = hook_of(interface);
  message.put(TCA_KIND, "bpf");
  std::string name;
  const auto failed = requests.get(message, [&name](const nlmsghdr* reply) {
    const NetlinkAttributes attributes(reply, sizeof(tcmsg));
    if (const nlattr* options = attributes.get(TCA_OPTIONS); options != nullptr) {
      name = NetlinkAttributes(options).text(TCA_BPF_NAME);
    }
    name = name.empty() ? "without a name" : name;
  });
  // Without the hook or the program; some kernels say EINVAL of the first.
  if (failed && failed->code != ENOENT && failed->code != EINVAL && failed->code != EOPNOTSUPP) {
    return Error{"cannot read its ingress filters: " + failed->text, interface.interface, kDropFix};
  }
  return name;
}

}  // namespace

Status drop_ingress(NetlinkRequests& requests, const LinkState& interface) {
  const auto name = present(requests, interface);
  if (!name) {
    return name.error();
  }
  if (*name == kProgramName) {
    return Ok{};
  }
  if (!name->empty()) {
    return Error{"another program has the first place at its ingress (" + *name + ")", interface.interface,
                 "see `tc filter show dev " + interface.interface + " ingress`; give that one another preference"};
  }
  const OwnedFd program(load_program());
  if (program.get() < 0) {
    return Error{std::string("cannot load a program that drops: ") + std::strerror(errno), interface.interface,
                 kDropFix};
  }
  NetlinkMessage hook(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  auto& header = hook.header<tcmsg>();
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = interface.index;
  header.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  header.tcm_parent = TC_H_CLSACT;
  hook.put(TCA_KIND, "clsact");
  auto failed = requests.apply(hook);
  if (!failed || failed->code == EEXIST) {
    NetlinkMessage filter(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
    filter.header<tcmsg>() = hook_of(interface);
    filter.put(TCA_KIND, "bpf");
    filter.nest(TCA_OPTIONS, [&] {
      filter.put(TCA_BPF_FD, static_cast<std::uint32_t>(program.get()));
      filter.put(TCA_BPF_NAME, kProgramName);
      filter.put(TCA_BPF_FLAGS, std::uint32_t{TCA_BPF_FLAG_ACT_DIRECT});
    });
    failed = requests.apply(filter);
  }
  if (failed) {
    return Error{"cannot keep what it receives from the kernel's stack: " + failed->text, interface.interface,
                 kDropFix};
  }
  return Ok{};
}

Status allow_ingress(NetlinkRequests& requests, const LinkState& interface) {
  const auto name = present(requests, interface);
  if (!name) {
    return name.error();
  }
  if (*name != kProgramName) {
    return Ok{};
  }
  NetlinkMessage message(RTM_DELTFILTER, 0);
  message.header<tcmsg>() = hook_of(interface);
  message.put(TCA_KIND, "bpf");
  if (const auto failed = requests.apply(message); failed && failed->code != ENOENT) {
    return Error{"cannot remove what drops its packets: " + failed->text, interface.interface,
                 "tc filter del dev " + interface.interface + " ingress pref 1"};
  }
  return Ok{};
}

}  // namespace isthmus
