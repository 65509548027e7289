// The rules of one steer program: keeps its peer, prefix and tunnel maps equal to what is wanted.
// Owner: SteerProgram. Control thread only; the kernel program reads the same maps at any moment, so new entries go in
// before old ones leave, and what stays is not touched.
#pragma once

#include <cstring>
#include <set>

#include "dataplane/base/result.h"
#include "dataplane/io/device.h"
#include "xdp/abi.h"

namespace isthmus {

// Order of keys that have no padding: by their bytes.
struct ByBytes {
  template <typename Key>
  bool operator()(const Key& a, const Key& b) const noexcept {
    return std::memcmp(&a, &b, sizeof(Key)) < 0;
  }
};

// One BPF map used as a set, and what it holds. Nobody else writes the map.
template <typename Key>
class MapSet {
 public:
  using Keys = std::set<Key, ByBytes>;
  MapSet(int map, const char* what) : map_(map), what_(what) {}
  // After an error the set still knows what the map holds; calling again continues.
  [[nodiscard]] Status add_missing(const Keys& wanted);
  [[nodiscard]] Status remove_others(const Keys& wanted);
  [[nodiscard]] std::size_t size() const noexcept { return present_.size(); }

 private:
  int map_;
  const char* what_;
  Keys present_;
};

class SteerMaps {
 public:
  struct Fds {
    int config, peers, fleet, local;
  };
  // `base` carries what rules do not change: flags and beat timeout.
  SteerMaps(const Fds& fds, const isthmus_steer_config& base);
  // Writes the configuration without a tunnel: the program takes nothing yet.
  [[nodiscard]] Status start();
  [[nodiscard]] Status apply(const SteerRules& rules);

 private:
  [[nodiscard]] Status write_config();

  int config_map_;
  isthmus_steer_config config_;
  MapSet<isthmus_address> peers_;
  MapSet<isthmus_lpm_key> fleet_;
  MapSet<isthmus_lpm_key> local_;
};

}  // namespace isthmus
