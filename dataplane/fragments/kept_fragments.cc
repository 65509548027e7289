#include "dataplane/fragments/kept_fragments.h"

#include <new>
#include <type_traits>

namespace isthmus {
namespace {

constexpr std::align_val_t kAlignment{alignof(KeptFragment)};

}  // namespace

KeptFragments::KeptFragments(std::uint32_t places)
    : size_(places),
      places_(static_cast<KeptFragment*>(::operator new (sizeof(KeptFragment) * std::size_t{places}, kAlignment))) {}

KeptFragments::~KeptFragments() {
  static_assert(std::is_trivially_destructible_v<KeptFragment>);
  ::operator delete(places_, kAlignment);
}

std::uint32_t KeptFragments::take() noexcept {
  lock_.take();
  std::uint32_t place = free_;
  if (place != kNoPlace) {
    free_ = places_[place].next;
  } else if (fresh_ < size_) {
    place = fresh_++;
  }
  lock_.release();
  if (place != kNoPlace) {
    new (&places_[place]) KeptFragment;
  }
  return place;
}

void KeptFragments::release(std::uint32_t first) noexcept {
  if (first == kNoPlace) {
    return;
  }
  std::uint32_t last = first, frames = places_[first].frames;
  while (places_[last].next != kNoPlace) {
    last = places_[last].next;
    frames += places_[last].frames;
  }
  frames_.fetch_sub(frames, std::memory_order_relaxed);
  lock_.take();
  places_[last].next = free_;
  free_ = first;
  lock_.release();
}

}  // namespace isthmus
