// The keys of one prefix with their flags: a hash table over keys in one block of memory, some 40 bytes for a key like
// "10.51.200.17". Values are not stored, only a hash of each, to detect that a listed value is unchanged.
//
// Owner: ClusterImport. Thread: the etcd source's. Failure: none; keys must not exceed kMaxKeyLength.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace isthmus {

class KeyTable {
 public:
  // Flags of a key.
  static constexpr unsigned kInForce = 1;    // an object of this key is in force
  static constexpr unsigned kInvalid = 2;    // the hub's current value is invalid
  static constexpr unsigned kUnseen = 4;     // not in the current list so far
  static constexpr unsigned kStale = 8;      // in force, not confirmed by the current list so far
  static constexpr unsigned kRetained = 16;  // in force although missing from a list
  using Ref = std::uint32_t;                 // valid until the next find_or_add() or clear()
  static constexpr Ref kNone = 0xffffffff;
  static constexpr std::size_t kMaxKeyLength = 65535;

  [[nodiscard]] Ref find(std::string_view key) const;
  // Precondition: `key` is at most kMaxKeyLength long.
  Ref find_or_add(std::string_view key);
  void erase(Ref ref);
  void clear();

  [[nodiscard]] std::uint8_t flags(Ref ref) const { return static_cast<std::uint8_t>(bytes_[ref + kFlagsOffset]); }
  void set_flags(Ref ref, unsigned flags) { bytes_[ref + kFlagsOffset] = static_cast<char>(flags); }
  [[nodiscard]] std::uint64_t value_hash(Ref ref) const;
  void set_value_hash(Ref ref, std::uint64_t hash);
  [[nodiscard]] std::string_view key(Ref ref) const;
  [[nodiscard]] std::size_t size() const { return live_; }
  [[nodiscard]] std::size_t memory() const { return bytes_.capacity() + slots_.capacity() * sizeof(Ref); }

  // Calls visit(ref) for every key. It may change flags, but neither add nor erase keys.
  template <typename Visit>
  void each(Visit&& visit) const {
    for (std::size_t at = 0; at < bytes_.size();) {
      const auto ref = static_cast<Ref>(at);
      const std::size_t size = kKeyOffset + length(ref);
      if (flags(ref) != kErased) {
        visit(ref);
      }
      at += size;
    }
  }

 private:
  // Record layout: hash of the value (8 bytes), length of the key (2), flags (1), key.
  static constexpr std::size_t kLengthOffset = 8, kFlagsOffset = 10, kKeyOffset = 11;
  static constexpr std::uint8_t kErased = 0xff;
  static constexpr Ref kTombstone = 0xfffffffe;

  [[nodiscard]] std::size_t length(Ref ref) const;
  [[nodiscard]] std::size_t slot_of(std::string_view key) const;
  void rebuild();

  std::vector<char> bytes_;
  std::vector<Ref> slots_;  // size: a power of two
  std::size_t live_ = 0, used_ = 0, garbage_ = 0;
};

[[nodiscard]] std::uint64_t hash_of_value(std::string_view value);

}  // namespace isthmus
