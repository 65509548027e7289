// What the tables know of the addresses that new connections have had as an end lately, so that the next one between
// known ends need not look them up. IPv4 only.
//
// Sets of four entries, found by the keyed address_hash(): hence bounded, and nobody can choose whom to displace. An
// entry holds for the snapshot that it was made from, while the word of its address stands. Thread: its worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/mix.h"
#include "dataplane/base/prefetch.h"
#include "dataplane/conntrack/epoch_table.h"

namespace isthmus {

struct KnownEnd {
  std::uint64_t kind = 0;      // keyed digest of all that decide() takes from an address; 0: it has none
  std::uint32_t address = 0;   // as on the wire
  std::uint32_t snapshot = 0;  // its number; 0: free
  std::uint32_t value = 0;     // of the address's word, before the tables were read
  EpochIndex word = 0;
  ClusterId cluster;
  Realm realm;
  std::uint16_t holder = 0;  // Holder::source of a connection from there
};
static_assert(sizeof(KnownEnd) == 32);

class KnownEnds {
 public:
  // `hash`: address_hash() of the address.
  void prefetch(std::uint64_t hash) const noexcept {
    const Set& set = sets_[hash % kSets];
    prefetch_line(&set[0]);
    prefetch_line(&set[2]);
  }
  // nullptr: not known, or no longer.
  [[nodiscard]] const KnownEnd* find(Realm realm, std::uint32_t address, std::uint64_t hash, std::uint32_t snapshot,
                                     const EpochTable& epochs) const noexcept {
    for (const KnownEnd& end : sets_[hash % kSets]) {
      if (end.address == address && end.realm == realm && end.snapshot == snapshot &&
          epochs.load(end.word) == end.value) {
        return &end;
      }
    }
    return nullptr;
  }
  // Both matter: keyed. For `kind`.
  [[nodiscard]] std::uint64_t mix(std::uint64_t digest, std::uint64_t word) const noexcept {
    return folded_product(digest ^ secrets_[0], word ^ secrets_[1]);
  }
  void remember(std::uint64_t hash, const KnownEnd& end) noexcept {
    Set& set = sets_[hash % kSets];
    KnownEnd* place = &set[++turn_ % set.size()];
    for (KnownEnd& other : set) {
      place =
          (other.address == end.address && other.realm == end.realm) || other.snapshot != end.snapshot ? &other : place;
    }
    *place = end;
  }

 private:
  static constexpr std::size_t kSets = 8192;
  struct alignas(64) Set : std::array<KnownEnd, 4> {};
  HugePageVector<Set> sets_ = HugePageVector<Set>(kSets);
  std::array<std::uint64_t, 2> secrets_{random_word(), random_word()};
  std::uint32_t turn_ = 0;
};

}  // namespace isthmus
