// Reconciles the peer, prefix and tunnel maps of one steer program with the desired rules.
// Owner: SteerProgram. Control thread only. The kernel program reads the maps all the time: new entries are added
// before old ones are removed, and entries that stay are not touched.
#pragma once

#include <cstring>
#include <set>

#include "dataplane/base/result.h"
#include "dataplane/io/device.h"
#include "xdp/abi.h"

namespace isthmus {

// Orders keys by their bytes; they must have no padding.
struct ByBytes {
  template <typename Key>
  bool operator()(const Key& a, const Key& b) const noexcept {
    return std::memcmp(&a, &b, sizeof(Key)) < 0;
  }
};

// A BPF map used as a set, with a copy of its keys. Nobody else writes the map.
template <typename Key>
class MapSet {
 public:
  using Keys = std::set<Key, ByBytes>;
  MapSet(int map, const char* what) : map_(map), what_(what) {}
  // Adds to `added` what it adds. After an error the copy still matches the map; calling again continues.
  [[nodiscard]] Status add_missing(const Keys& desired, Keys& added);
  [[nodiscard]] Status remove_others(const Keys& desired);
  // What cannot be removed stays in the copy, and the next remove_others() tries again.
  Status remove(const Keys& keys);
  [[nodiscard]] std::size_t size() const noexcept { return current_.size(); }

 private:
  int map_;
  const char* what_;
  Keys current_;
};

class SteerMaps {
 public:
  struct Fds {
    int config, peers, fleet, local, native;
  };
  // `base` holds what the rules do not change: flags and heartbeat timeout.
  SteerMaps(const Fds& fds, const isthmus_steer_config& base);
  // Writes the configuration without a tunnel: the program takes nothing yet.
  [[nodiscard]] Status start();
  // All or nothing as far as packets are concerned: if an entry cannot be added, those added before it are removed
  // again and the old rules stay in force.
  [[nodiscard]] Status apply(const SteerRules& rules);
  // The same for what has come and gone since then.
  [[nodiscard]] Status change(const SteerChange& change);
  [[nodiscard]] Status set_mac(const MacAddress& mac);
  // From then on packets of flows handed down may be forwarded.
  [[nodiscard]] Status set_role(bool underlay, Realm realm);

 private:
  struct Desired {
    MapSet<isthmus_address>::Keys peers;
    MapSet<isthmus_lpm_key>::Keys fleet, local, native;
  };
  [[nodiscard]] static Desired keys_of(const SteerRules& rules);
  [[nodiscard]] Status add_missing(const Desired& desired);
  [[nodiscard]] Status replace(const SteerRules& rules);
  [[nodiscard]] Status add_and_remove(const SteerChange& change);
  // Verdicts of the program on what the maps were before do not count any more. Passes on `status`, unless it is good
  // and this fails.
  [[nodiscard]] Status end_change(Status status);
  [[nodiscard]] Status set_config(isthmus_steer_config config, bool native);
  [[nodiscard]] Status write_config();

  int config_map_;
  isthmus_steer_config config_;
  MapSet<isthmus_address> peers_;
  MapSet<isthmus_lpm_key> fleet_;
  MapSet<isthmus_lpm_key> local_;
  MapSet<isthmus_lpm_key> native_;
};

}  // namespace isthmus
