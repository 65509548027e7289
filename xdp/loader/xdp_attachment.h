// Queries and changes the XDP program of an interface by netlink: a program attached this way outlives its process.
// Control thread only, in the network namespace of the interface. Foreign programs are reported, never touched.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dataplane/base/result.h"
#include "dataplane/io/unique_fd.h"

namespace isthmus {

struct Interface {
  std::string name;
  int index = 0;
};
// By name, in the calling thread's network namespace.
[[nodiscard]] Result<Interface> find_interface(const std::string& name);

struct AttachedProgram {
  UniqueFd fd;
  std::uint32_t id = 0;
  std::string name;     // empty: loaded without a name
  bool native = false;  // run by the driver; otherwise generic
  bool offloaded = false;
  [[nodiscard]] bool is_steer() const;
};
// Nothing when the interface runs no XDP program.
[[nodiscard]] Result<std::optional<AttachedProgram>> attached_program(const Interface& interface);
// Attaches where nothing is attached yet. If the driver cannot, the error carries the kernel's reason.
[[nodiscard]] Status attach_program(const Interface& interface, int program, bool native);
// Atomically, so that no packet passes without a program. Error: `old` is no longer attached.
[[nodiscard]] Status replace_program(const Interface& interface, int program, const AttachedProgram& old);
[[nodiscard]] Status remove_program(const Interface& interface, const AttachedProgram& old);

// The map of `program` named `name` (15 characters at most: the kernel truncates longer names).
[[nodiscard]] std::optional<UniqueFd> map_of_program(int program, const std::string& name);

}  // namespace isthmus
