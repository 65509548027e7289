// The steer rules of the published tables, and what has changed of them: counts who wants each entry, so that a change
// costs its own share. Owner: Publisher. Thread: control.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

#include "dataplane/io/device.h"

namespace isthmus {

class SteerLedger {
 public:
  enum class List : std::uint8_t { kFleet, kLocalSources, kNative };
  // One more (by = 1) or one fewer (by = -1) wants it; never fewer than none.
  void count_peer(const IpAddress& peer, int by);
  void count(List list, const Prefix& prefix, int by);

  // All of them, without the tunnel's ends.
  [[nodiscard]] SteerRules rules() const;
  // Since the last call.
  [[nodiscard]] SteerChange take_change();

 private:
  template <typename Key>
  class Wanted {
   public:
    void count(const Key& key, int by);
    [[nodiscard]] std::set<Key> all() const;
    // Moves what has come and gone to the two sets, which are empty.
    void take(std::set<Key>& added, std::set<Key>& removed);

   private:
    std::map<Key, int> counts_;  // none is 0
    std::set<Key> turned_;       // wanted now and not at the last take(), or the reverse
  };
  [[nodiscard]] const Wanted<Prefix>& of(List list) const { return lists_[static_cast<std::size_t>(list)]; }
  [[nodiscard]] Wanted<Prefix>& of(List list) { return lists_[static_cast<std::size_t>(list)]; }

  Wanted<IpAddress> peers_;
  std::array<Wanted<Prefix>, 3> lists_;
};

}  // namespace isthmus
