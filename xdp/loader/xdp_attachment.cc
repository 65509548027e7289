#include "xdp/loader/xdp_attachment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "xdp/abi.h"
#include "xdp/loader/libbpf_messages.h"

namespace isthmus {
namespace {

[[nodiscard]] std::string reason_of(int error) { return std::strerror(error < 0 ? -error : error); }

[[nodiscard]] std::string attach_fix(int error, bool native) {
  switch (error < 0 ? -error : error) {
    case EPERM:
    case EACCES:
      return "run as root, or with CAP_NET_ADMIN and CAP_BPF";
    case ERANGE:
    case EINVAL:
      return native ? "lower the MTU of the interface (and of a veth's other end) to 3506, or set xdp: generic" : "";
    case EOPNOTSUPP:
      return native ? "the driver has no native XDP; set xdp: generic or auto" : "";
    case EBUSY:
    case EEXIST:
      return "another XDP program was attached meanwhile; see `ip -details link show`";
    default:
      return "";
  }
}

// `detail` is the kernel's own message, if it gave one.
[[nodiscard]] Error failure(const Interface& interface, const char* what, int error, bool native,
                            const std::string& detail = {}) {
  return Error{std::string(what) + ": " + (detail.empty() ? reason_of(error) : detail), interface.name,
               attach_fix(error, native)};
}

[[nodiscard]] constexpr std::uint32_t mode_flag(bool native) {
  return native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

constexpr const char* kLink = "";
// No link's name begins like these.
constexpr const char *kPrograms = "programs-", *kSteer = "steer-", *kNew = "new-";
[[nodiscard]] std::string pin_kind(const std::string& map) { return map + "-"; }

[[nodiscard]] std::string pin_folder() { return std::string(kBpfFolder) + "/isthmus"; }

// The top of the BPF file system may be closed to us where our folder is there: then that is what is looked at.
[[nodiscard]] bool can_pin() {
  struct statfs system {};
  return (statfs(pin_folder().c_str(), &system) == 0 || statfs(kBpfFolder, &system) == 0) &&
         system.f_type == BPF_FS_MAGIC;
}

// Where `what` of this interface is pinned; empty: there is no BPF file system. A BPF file system refuses dots in
// names, which those of VLANs have; a colon is in no interface's name.
[[nodiscard]] std::string pin_of(const Interface& interface, const std::string& what = kLink) {
  const std::uint32_t space = network_namespace();
  if (space == 0 || !can_pin()) {
    return "";
  }
  std::string name = interface.name;
  std::replace(name.begin(), name.end(), '.', ':');
  return pin_folder() + "/" + what + std::to_string(space) + "-" + name;
}

bool make_pin_folder() noexcept { return mkdir(pin_folder().c_str(), S_IRWXU) == 0 || errno == EEXIST; }

// What was there under that name is replaced at once.
bool pin(const Interface& interface, const std::string& what, int object) noexcept {
  const LibbpfMessages messages;
  const std::string pin = pin_of(interface, what);
  if (pin.empty() || !make_pin_folder()) {
    return false;
  }
  const std::string fresh = pin_of(interface, kNew + what);
  unlink(fresh.c_str());  // of a process that ended between the next two
  return bpf_obj_pin(object, fresh.c_str()) == 0 && rename(fresh.c_str(), pin.c_str()) == 0;
}

[[nodiscard]] UniqueFd pinned(const Interface& interface, const std::string& what) {
  const std::string pin = pin_of(interface, what);
  return UniqueFd(pin.empty() ? -1 : bpf_obj_get(pin.c_str()));
}

// The steer program of that number. To open any program by its number takes CAP_SYS_ADMIN, which a gateway need not
// have.
[[nodiscard]] UniqueFd open_program(const Interface& interface, std::uint32_t id) {
  UniqueFd program(bpf_prog_get_fd_by_id(id));
  if (program.valid() || errno != EPERM) {
    return program;
  }
  UniqueFd steer = pinned(interface, kSteer);
  bpf_prog_info info{};
  std::uint32_t size = sizeof info;
  if (steer.valid() && bpf_obj_get_info_by_fd(steer.get(), &info, &size) == 0 && info.id == id) {
    return steer;
  }
  errno = EPERM;
  return UniqueFd();
}

}  // namespace

std::uint32_t network_namespace() noexcept {
  struct stat here {};
  return stat("/proc/thread-self/ns/net", &here) == 0 ? static_cast<std::uint32_t>(here.st_ino) : 0;
}

Result<Interface> find_interface(const std::string& name) {
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) {
    return Error{"no such network interface", name, "see `ip link`; check the device's `interface` setting"};
  }
  return Interface{name, static_cast<int>(index)};
}

bool AttachedProgram::is_steer() const { return name == ISTHMUS_STEER_PROGRAM && !offloaded; }

Result<std::optional<AttachedProgram>> attached_program(const Interface& interface) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (const int error = bpf_xdp_query(interface.index, 0, &query); error != 0) {
    return failure(interface, "cannot query its XDP program", error, false);
  }
  AttachedProgram program;
  program.native = query.drv_prog_id != 0;
  program.offloaded = query.drv_prog_id == 0 && query.hw_prog_id != 0;
  program.id = program.native ? query.drv_prog_id : program.offloaded ? query.hw_prog_id : query.skb_prog_id;
  if (program.id == 0) {
    return std::optional<AttachedProgram>();
  }
  program.fd = open_program(interface, program.id);
  if (!program.fd.valid() && errno == EPERM) {
    return std::optional<AttachedProgram>(std::move(program));
  }
  if (!program.fd.valid()) {
    return failure(interface, "cannot open its XDP program", errno, false);
  }
  bpf_prog_info info{};
  std::uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program.fd.get(), &info, &size) != 0) {
    return failure(interface, "cannot read the info of its XDP program", errno, false);
  }
  program.name = info.name;
  return std::optional<AttachedProgram>(std::move(program));
}

bool attach_by_link(const Interface& interface, int program, bool native) {
  const LibbpfMessages messages;
  const std::string pin = pin_of(interface);
  if (pin.empty() || !make_pin_folder()) {
    return false;
  }
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = mode_flag(native));
  const UniqueFd link(bpf_link_create(program, interface.index, BPF_XDP, &options));
  if (!link.valid()) {
    return false;
  }
  unlink(pin.c_str());  // of an interface of this name that is gone
  // Without its pin, the link is closed at return, and the program with it is off the interface again.
  return bpf_obj_pin(link.get(), pin.c_str()) == 0;
}

std::optional<UniqueFd> link_of_program(const Interface& interface, std::uint32_t id) {
  bpf_link_info ours{};
  std::uint32_t bytes = sizeof ours;
  if (UniqueFd link = pinned(interface, kLink);
      link.valid() && bpf_obj_get_info_by_fd(link.get(), &ours, &bytes) == 0 && ours.prog_id == id) {
    return link;
  }
  std::uint32_t number = 0;
  while (bpf_link_get_next_id(number, &number) == 0) {
    UniqueFd link(bpf_link_get_fd_by_id(number));
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    if (link.valid() && bpf_obj_get_info_by_fd(link.get(), &info, &size) == 0 && info.type == BPF_LINK_TYPE_XDP &&
        info.prog_id == id) {
      return link;
    }
  }
  return std::nullopt;
}

Status attach_program(const Interface& interface, int program, bool native) {
  const LibbpfMessages messages;
  const std::uint32_t flags = XDP_FLAGS_UPDATE_IF_NOEXIST | mode_flag(native);
  if (const int error = bpf_xdp_attach(interface.index, program, flags, nullptr); error != 0) {
    return failure(interface, native ? "cannot attach in native mode" : "cannot attach in generic mode", error, native,
                   messages.last_line());
  }
  return Ok{};
}

Status replace_program(const Interface& interface, int program, const AttachedProgram& old) {
  const LibbpfMessages messages;
  if (const auto link = link_of_program(interface, old.id)) {
    LIBBPF_OPTS(bpf_link_update_opts, update, .flags = BPF_F_REPLACE,
                .old_prog_fd = static_cast<std::uint32_t>(old.fd.get()));
    const int error = bpf_link_update(link->get(), program, &update);
    return error == 0 ? Status(Ok{})
                      : failure(interface, "cannot replace the program of an earlier run", error, old.native);
  }
  LIBBPF_OPTS(bpf_xdp_attach_opts, options, .old_prog_fd = old.fd.get());
  if (const int error = bpf_xdp_attach(interface.index, program, mode_flag(old.native), &options); error != 0) {
    return failure(interface, "cannot replace the program of an earlier run", error, old.native, messages.last_line());
  }
  return Ok{};
}

Status remove_program(const Interface& interface, const AttachedProgram& old) {
  const LibbpfMessages messages;
  unpin_map(interface);
  if (const auto link = link_of_program(interface, old.id)) {
    const int error = bpf_link_detach(link->get());
    unlink(pin_of(interface).c_str());
    return error == 0 ? Status(Ok{}) : failure(interface, "cannot detach the steer program", error, old.native);
  }
  LIBBPF_OPTS(bpf_xdp_attach_opts, options, .old_prog_fd = old.fd.get());
  if (const int error = bpf_xdp_detach(interface.index, mode_flag(old.native), &options); error != 0) {
    return failure(interface, "cannot detach the steer program", error, old.native, messages.last_line());
  }
  return Ok{};
}

bool pin_map(const Interface& interface, int map) noexcept { return pin(interface, kPrograms, map); }

void unpin_map(const Interface& interface) noexcept { unlink(pin_of(interface, kPrograms).c_str()); }

void pin_parts(const Interface& interface, int program, const SteerParts& maps) noexcept {
  static_cast<void>(pin(interface, kSteer, program));
  for (const auto& [name, map] : maps) {
    if (map >= 0) {
      static_cast<void>(pin(interface, pin_kind(name), map));
    } else {
      unlink(pin_of(interface, pin_kind(name)).c_str());
    }
  }
}

void unpin_all(const std::string& name) noexcept {
  for (const std::string& what :
       {std::string(kLink), std::string(kPrograms), std::string(kSteer), pin_kind(ISTHMUS_HEARTBEATS_MAP),
        pin_kind(ISTHMUS_COUNTERS_MAP), pin_kind(ISTHMUS_LEASES_MAP)}) {
    unlink(pin_of({name, 0}, what).c_str());
  }
}

std::optional<UniqueFd> map_of_program(int program, const std::string& name) {
  bpf_prog_info info{};
  std::uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) {
    return std::nullopt;
  }
  std::vector<std::uint32_t> ids(info.nr_map_ids);
  bpf_prog_info with_maps{};
  with_maps.nr_map_ids = info.nr_map_ids;
  with_maps.map_ids = reinterpret_cast<std::uintptr_t>(ids.data());
  size = sizeof with_maps;
  if (bpf_obj_get_info_by_fd(program, &with_maps, &size) != 0) {
    return std::nullopt;
  }
  for (const std::uint32_t id : ids) {
    UniqueFd map(bpf_map_get_fd_by_id(id));
    bpf_map_info map_info{};
    size = sizeof map_info;
    if (map.valid() && bpf_obj_get_info_by_fd(map.get(), &map_info, &size) == 0 && name == map_info.name) {
      return map;
    }
  }
  return std::nullopt;
}

std::optional<UniqueFd> map_of(const Interface& interface, const AttachedProgram& steer, const std::string& name) {
  if (auto map = map_of_program(steer.fd.get(), name)) {
    return map;
  }
  UniqueFd map = pinned(interface, pin_kind(name));
  return map.valid() ? std::optional(std::move(map)) : std::nullopt;
}

std::optional<UniqueFd> leases_of(const Interface& interface, const AttachedProgram& steer) {
  const auto programs = map_of_program(steer.fd.get(), ISTHMUS_PROGRAMS_MAP);
  const std::uint32_t place = ISTHMUS_PROGS_FORWARD;
  std::uint32_t id = 0;  // which is what the kernel shows of such an array
  if (programs && bpf_map_lookup_elem(programs->get(), &place, &id) != 0) {
    return std::nullopt;
  }
  const UniqueFd forward(programs ? bpf_prog_get_fd_by_id(id) : -1);
  if (forward.valid()) {
    return map_of_program(forward.get(), ISTHMUS_LEASES_MAP);
  }
  return map_of(interface, steer, ISTHMUS_LEASES_MAP);
}

}  // namespace isthmus
