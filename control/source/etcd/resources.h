// The resources that a cluster publishes, and their keys. Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace isthmus {

enum class EtcdResource : std::uint8_t {
  kNodes,
  kIdentities,
  kAddresses,
  kServices,
  kExports,
  kSlices,
  kGateways  // registered gateways (our own keys, not Cilium's)
};
inline constexpr std::size_t kEtcdResources = 7;
inline constexpr std::array<EtcdResource, kEtcdResources> kAllEtcdResources = {
    EtcdResource::kNodes,   EtcdResource::kIdentities, EtcdResource::kAddresses, EtcdResource::kServices,
    EtcdResource::kExports, EtcdResource::kSlices,     EtcdResource::kGateways};

// A cluster publishes itself under cilium/state/; KVStoreMesh mirrors others under cilium/cache/.
enum class EtcdLayout : std::uint8_t { kState, kCache };

inline constexpr std::string_view kHeartbeatPrefix = "cilium/.heartbeat";
inline constexpr std::string_view kClusterConfigPrefix = "cilium/cluster-config/";

// "ip", "nodes": for keys, provenance and messages.
[[nodiscard]] const char* to_text(EtcdResource resource);
// "cilium/state/ip/v1/default/". The rest of a key is its suffix.
[[nodiscard]] std::string key_prefix(EtcdResource resource, EtcdLayout layout, const std::string& cluster);
// "cilium/synced/west/"
[[nodiscard]] std::string canary_prefix(const std::string& cluster);
// The rest of the canary's key: "cilium/state/ip/v1". Empty: the resource has no canary.
[[nodiscard]] std::string canary_suffix(EtcdResource resource, EtcdLayout layout);

}  // namespace isthmus
