// What members of the fleet may claim, as configured (control/admission). Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// Private addresses: RFC 1918, RFC 6598 (shared by carriers), RFC 4193.
[[nodiscard]] inline std::vector<Prefix> private_prefixes() {
  std::vector<Prefix> prefixes;
  for (const char* text : {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"}) {
    prefixes.push_back(Prefix::parse(text).value());
  }
  return prefixes;
}

// How much of one member is used.
struct MemberLimits {
  std::uint32_t endpoints = 500'000;  // pods, addresses and nodes
  std::uint32_t services = 100'000;   // Services, EndpointSlices and ServiceImports
  std::uint32_t megabytes = 512;      // of all its objects, as control holds them
  std::uint32_t gateways = 64;
  friend bool operator==(const MemberLimits&, const MemberLimits&) = default;
};

struct AdmissionRules {
  std::vector<Prefix> ranges = private_prefixes();           // that other clusters' pods lie in
  std::vector<Prefix> node_ranges = private_prefixes();      // that other clusters' nodes lie in
  std::map<std::string, std::vector<Prefix>> pods{};         // of other clusters, by name: instead of `ranges`
  std::map<std::string, std::vector<Prefix>> alias_cidrs{};  // of clusters by name, for what `pods` has of them
  std::map<std::string, AliasPrefixes> aliases{};            // the same, with what each stands for
  std::vector<Prefix> vip_pools{};                           // that any member may claim VIPs in
  std::uint8_t shortest_ipv4 = 8, shortest_ipv6 = 32;        // lengths of the prefixes of pods and nodes
  std::uint32_t prefixes_per_cluster = 4096;                 // after merging
  MemberLimits limits{};
  friend bool operator==(const AdmissionRules&, const AdmissionRules&) = default;
};

}  // namespace isthmus
