// How packets are carried between tunnel ends, and what configuration, registry and MTU need to know of each kind. The
// values come from the kinds' own files in dataplane/encap, which lists them. Plain values, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/base/types.h"

namespace isthmus {

enum class EncapsulationKind : std::uint8_t {
  kVxlan,
  kGeneve,
  kNone,  // native routing: the underlay knows the pods' addresses
};
inline constexpr std::size_t kEncapsulationKinds = 3;

struct EncapsulationInfo {
  EncapsulationKind kind = EncapsulationKind::kVxlan;
  std::string_view name;           // as in configuration, registry and status
  L4Port default_port;             // UDP; 0: the kind has no port
  std::uint32_t header_bytes = 0;  // of the tunnel header behind UDP
};

// Every kind, by EncapsulationKind.
[[nodiscard]] std::span<const EncapsulationInfo> encapsulations() noexcept;
[[nodiscard]] const EncapsulationInfo& encapsulation_info(EncapsulationKind kind) noexcept;
// nullopt: there is no kind of this name.
[[nodiscard]] std::optional<EncapsulationKind> encapsulation_named(std::string_view name) noexcept;
// "vxlan, geneve or none", for messages.
[[nodiscard]] std::string encapsulation_names();
// Bytes by which the underlay's IP packet is longer than the inner one.
[[nodiscard]] Bytes encapsulation_overhead(EncapsulationKind kind, Family underlay) noexcept;

}  // namespace isthmus
