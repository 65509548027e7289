// Verdicts that one worker remembers, so that the connections of the same two identities on the same port pay once for
// a policy of hundreds of entries.
//
// Direct-mapped, so bounded; a clash forgets. A verdict stands as long as its subject's epoch word has the value that
// was sampled before the verdict was made; keep it only if the snapshot it was made from was still the published one
// afterwards (the same rule by which blocks are handed to the connection table). Thread: its worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/api/policy.h"
#include "dataplane/tables/policy_table.h"

namespace isthmus {

class VerdictCache {
 public:
  struct Question {
    Identity subject, peer;
    PolicyL4 l4;
    bool ingress = false;
    friend bool operator==(const Question&, const Question&) = default;
  };
  // nullptr: not known, or no longer.
  [[nodiscard]] const PolicyVerdict* find(const Question& question, std::uint32_t epoch) const noexcept {
    const Place& place = places_[index(question)];
    return place.used && place.epoch == epoch && place.question == question ? &place.verdict : nullptr;
  }
  void keep(const Question& question, std::uint32_t epoch, const PolicyVerdict& verdict) noexcept {
    places_[index(question)] = {question, epoch, verdict, true};
  }

 private:
  static constexpr std::size_t kPlaces = 1024;
  struct Place {
    Question question;
    std::uint32_t epoch = 0;
    PolicyVerdict verdict;
    bool used = false;
  };
  [[nodiscard]] static std::size_t index(const Question& q) noexcept {
    const std::uint64_t pair = std::uint64_t{q.subject.value()} << 32 | q.peer.value();
    const std::uint64_t l4 = std::uint64_t{q.l4.protocol} << 17 | std::uint64_t{q.l4.port} << 1 | (q.ingress ? 1 : 0);
    return static_cast<std::size_t>(((pair ^ l4 << 20) * 0x9e3779b97f4a7c15ULL) >> 54);
  }
  static_assert(kPlaces == 1u << (64 - 54));

  std::array<Place, kPlaces> places_{};
};

}  // namespace isthmus
