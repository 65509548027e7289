// Values by prefix, with the prefixes around one and those inside it. A std::map in order of address, with a count of
// every length in use: to find what is around a prefix costs a look-up for each shorter length that some prefix has,
// which are few. Not safe for several threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

#include "dataplane/api/types.h"

namespace isthmus {

template <typename T>
class PrefixMap {
 public:
  [[nodiscard]] T& operator[](const Prefix& prefix) {
    const auto [at, added] = values_.try_emplace(prefix);
    if (added) {
      ++lengths_[prefix.length128()];
    }
    return at->second;
  }
  // Null: there is none. Valid until it is erased.
  [[nodiscard]] T* find(const Prefix& prefix) {
    const auto at = values_.find(prefix);
    return at == values_.end() ? nullptr : &at->second;
  }
  [[nodiscard]] const T* find(const Prefix& prefix) const {
    const auto at = values_.find(prefix);
    return at == values_.end() ? nullptr : &at->second;
  }
  void erase(const Prefix& prefix) {
    if (values_.erase(prefix) != 0) {
      --lengths_[prefix.length128()];
    }
  }
  void clear() { *this = {}; }

  // Both call visit(prefix, value) until it returns false, and return whether it never did. `visit` may change values,
  // and neither adds nor erases any.
  // Those of the same family that contain `prefix`, itself included; the shortest first.
  template <typename Visit>
  bool around(const Prefix& prefix, Visit&& visit) {
    const unsigned whole = prefix.family() == Family::kIpv4 ? 96 : 0;
    for (unsigned length = 0; length <= prefix.length(); ++length) {
      if (lengths_[whole + length] == 0) {
        continue;
      }
      const auto at = values_.find(Prefix(prefix.address(), static_cast<std::uint8_t>(length)));
      if (at != values_.end() && !visit(at->first, at->second)) {
        return false;
      }
    }
    return true;
  }
  // Those inside `prefix` and longer; in order of address, and at one address the shortest first.
  template <typename Visit>
  bool inside(const Prefix& prefix, Visit&& visit) {
    for (auto at = values_.upper_bound(prefix); at != values_.end() && prefix.contains(at->first); ++at) {
      if (!visit(at->first, at->second)) {
        return false;
      }
    }
    return true;
  }
  template <typename Visit>
  bool overlapping(const Prefix& prefix, Visit&& visit) {
    return around(prefix, visit) && inside(prefix, visit);
  }

  [[nodiscard]] auto begin() const { return values_.begin(); }
  [[nodiscard]] auto end() const { return values_.end(); }
  [[nodiscard]] std::size_t size() const { return values_.size(); }

 private:
  std::map<Prefix, T> values_;
  std::array<std::uint32_t, 129> lengths_{};  // by length in the 128-bit form
};

}  // namespace isthmus
