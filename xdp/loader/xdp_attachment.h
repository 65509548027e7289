// Which XDP program an interface runs, and changing it, by netlink: what is attached this way outlives its process.
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
  std::string name;     // empty: its loader gave none
  bool native = false;  // in the driver; otherwise generic
  bool offloaded = false;
  [[nodiscard]] bool is_steer() const;
};
// Nothing when the interface runs no XDP program.
[[nodiscard]] Result<std::optional<AttachedProgram>> attached_program(const Interface& interface);
// Attaches where nothing is attached. The error of a driver that cannot is that of the kernel, with its reason.
[[nodiscard]] Status attach_program(const Interface& interface, int program, bool native);
// In one step, so that no packet finds the interface without a program. An error if `old` is no longer attached.
[[nodiscard]] Status replace_program(const Interface& interface, int program, const AttachedProgram& old);
[[nodiscard]] Status remove_program(const Interface& interface, const AttachedProgram& old);

// The map named `name` (15 characters at most) that `program` uses.
[[nodiscard]] std::optional<UniqueFd> map_of_program(int program, const std::string& name);

}  // namespace isthmus
