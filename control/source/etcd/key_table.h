// Which keys of a prefix there are, and how each stands: a hash table over keys in one block of memory, some 40 bytes
// for a key like "10.51.200.17". No values are kept, only a hash of each, to see that a listed value is the old one.
//
// Owner: a cluster's import. Thread: the etcd source's. Failure: none; keys longer than 64 KiB are not for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace isthmus {

class KeyTable {
 public:
  // Flags of a key.
  static constexpr unsigned kGood = 1;    // an object of this key is in force
  static constexpr unsigned kBad = 2;     // the hub's present value is refused
  static constexpr unsigned kUnseen = 4;  // not in the running list so far
  static constexpr unsigned kStale = 8;   // in force, and not confirmed by the running list so far
  static constexpr unsigned kHeld = 16;   // in force although a list did not have it
  using Ref = std::uint32_t;              // valid until the next add() or erase()
  static constexpr Ref kNone = 0xffffffff;
  static constexpr std::size_t kLongestKey = 65535;

  [[nodiscard]] Ref find(std::string_view key) const;
  // Precondition: `key` is at most kLongestKey long.
  Ref find_or_add(std::string_view key);
  void erase(Ref ref);
  void clear();

  [[nodiscard]] std::uint8_t flags(Ref ref) const { return static_cast<std::uint8_t>(bytes_[ref + kFlagsAt]); }
  void set_flags(Ref ref, unsigned flags) { bytes_[ref + kFlagsAt] = static_cast<char>(flags); }
  [[nodiscard]] std::uint64_t value_hash(Ref ref) const;
  void set_value_hash(Ref ref, std::uint64_t hash);
  [[nodiscard]] std::string_view key(Ref ref) const;
  [[nodiscard]] std::size_t size() const { return live_; }
  [[nodiscard]] std::size_t memory() const { return bytes_.capacity() + slots_.capacity() * sizeof(Ref); }

  // visit(ref) for every key; it may change flags, not the table.
  template <typename Visit>
  void each(Visit&& visit) const {
    for (std::size_t at = 0; at < bytes_.size();) {
      const auto ref = static_cast<Ref>(at);
      const std::size_t size = kKeyAt + length(ref);
      if (flags(ref) != kErased) {
        visit(ref);
      }
      at += size;
    }
  }

 private:
  // A record: hash of the value (8 bytes), length of the key (2), flags (1), the key.
  static constexpr std::size_t kLengthAt = 8, kFlagsAt = 10, kKeyAt = 11;
  static constexpr std::uint8_t kErased = 0xff;
  static constexpr Ref kTombstone = 0xfffffffe;

  [[nodiscard]] std::size_t length(Ref ref) const;
  [[nodiscard]] std::size_t slot_of(std::string_view key) const;
  void rebuild();

  std::vector<char> bytes_;
  std::vector<Ref> slots_;  // a power of two of them
  std::size_t live_ = 0, used_ = 0, garbage_ = 0;
};

[[nodiscard]] std::uint64_t hash_of_value(std::string_view value);

}  // namespace isthmus
