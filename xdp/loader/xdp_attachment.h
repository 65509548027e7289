// Queries and changes the XDP program of an interface. A program attached here outlives its process: fail closed.
//
// Two ways. By a BPF link that is pinned in the BPF file system (kBpfFolder): the kernel then refuses every other
// program that would replace or remove ours. Where there is no such file system, or the kernel or driver has no XDP
// links, by netlink: any program with the rights may take it off, and who attached it has to look
// (SteerProgram::ensure_attached). Control thread only, in the network namespace of the interface. Foreign programs are
// reported, never touched.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/io/unique_fd.h"

namespace isthmus {

// Pins lie in <folder>/isthmus, named by network namespace and interface: the link's, and with "programs-" in front
// that of the array of programs that the attached one calls, which the kernel empties when nobody holds it. The program
// itself ("steer-") and maps of it (their names) are pinned for successors that may not open them by their numbers,
// which takes CAP_SYS_ADMIN: without it, and without the file system, the program of an earlier run is a stranger's.
inline constexpr const char* kBpfFolder = "/sys/fs/bpf";

struct Interface {
  std::string name;
  int index = 0;
};
// Number of the calling thread's, as the kernel's programs see it; 0: it cannot be told, and errno says why.
[[nodiscard]] std::uint32_t network_namespace() noexcept;
// By name, in the calling thread's network namespace.
[[nodiscard]] Result<Interface> find_interface(const std::string& name);

struct AttachedProgram {
  UniqueFd fd;  // invalid: it may not be opened, so that only its number is known
  std::uint32_t id = 0;
  std::string name;     // empty: loaded without a name
  bool native = false;  // run by the driver; otherwise generic
  bool offloaded = false;
  [[nodiscard]] bool is_steer() const;
};
// Nothing when the interface runs no XDP program.
[[nodiscard]] Result<std::optional<AttachedProgram>> attached_program(const Interface& interface);
// By a pinned link, where nothing is attached yet. False: this way is not open here, and nothing has changed.
[[nodiscard]] bool attach_by_link(const Interface& interface, int program, bool native);
// By netlink, where nothing is attached yet. If the driver cannot, the error carries the kernel's reason.
[[nodiscard]] Status attach_program(const Interface& interface, int program, bool native);
// Atomically, so that no packet passes without a program; in the way in which `old` is attached. Error: `old` is no
// longer attached.
[[nodiscard]] Status replace_program(const Interface& interface, int program, const AttachedProgram& old);
[[nodiscard]] Status remove_program(const Interface& interface, const AttachedProgram& old);
// The link by which the program of this number is attached to the interface; none: by netlink.
[[nodiscard]] std::optional<UniqueFd> link_of_program(const Interface& interface, std::uint32_t id);

// The array of programs of what is attached to the interface; replaces that of another at once. False: it
// is not pinned, because there is no BPF file system.
bool pin_map(const Interface& interface, int map) noexcept;
void unpin_map(const Interface& interface) noexcept;
// The attached program and these maps of it, by name; -1: it has none of that name.
using SteerParts = std::vector<std::pair<const char*, int>>;
void pin_parts(const Interface& interface, int program, const SteerParts& maps) noexcept;
// All that is pinned for an interface of that name, which may be gone, and with it what keeps its programs and maps.
void unpin_all(const std::string& name) noexcept;

// The map of `program` named `name` (15 characters at most: the kernel truncates longer names).
[[nodiscard]] std::optional<UniqueFd> map_of_program(int program, const std::string& name);

// A map of the steer program that is attached to the interface, by its number or its pin.
[[nodiscard]] std::optional<UniqueFd> map_of(const Interface& interface, const AttachedProgram& steer,
                                             const std::string& name);
// The map of leases of the program that it calls for settled flows; nullopt: it calls none.
[[nodiscard]] std::optional<UniqueFd> leases_of(const Interface& interface, const AttachedProgram& steer);

}  // namespace isthmus
