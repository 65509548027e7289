#include "dataplane/fragments/datagram_parts.h"

#include <algorithm>

namespace isthmus {

// Places `part` before the `at`-th, or joins it with those that it touches.
void DatagramParts::insert(unsigned at, Part part) noexcept {
  const bool joins_before = at > 0 && parts_[at - 1].end == part.start;
  const bool joins_after = at < count_ && parts_[at].start == part.end;
  if (joins_before && joins_after) {
    parts_[at - 1].end = parts_[at].end;
    std::copy(parts_.begin() + at + 1, parts_.begin() + count_, parts_.begin() + at);
    --count_;
  } else if (joins_before) {
    parts_[at - 1].end = part.end;
  } else if (joins_after) {
    parts_[at].start = part.start;
  } else {
    std::copy_backward(parts_.begin() + at, parts_.begin() + count_, parts_.begin() + count_ + 1);
    parts_[at] = part;
    ++count_;
  }
}

DatagramParts::Added DatagramParts::add(std::uint32_t offset, std::uint32_t bytes, bool last) noexcept {
  const Part part{static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(offset + bytes)};
  unsigned at = 0;  // the first part that does not end before this one begins
  while (at < count_ && parts_[at].end <= part.start) {
    ++at;
  }
  const bool overlaps = at < count_ && parts_[at].start < part.end;
  if (overlaps && parts_[at].start <= part.start && parts_[at].end >= part.end && (!last || part.end == total_)) {
    return Added::kDuplicate;
  }
  const std::uint16_t furthest = count_ == 0 ? std::uint16_t{0} : parts_[count_ - 1].end;
  if (overlaps || (last && (total_ != 0 || furthest > part.end)) || (total_ != 0 && part.end > total_)) {
    return Added::kOverlaps;
  }
  const bool joins = (at > 0 && parts_[at - 1].end == part.start) || (at < count_ && parts_[at].start == part.end);
  if (count_ == kMost && !joins) {
    return Added::kTooMany;
  }
  insert(at, part);
  if (last) {
    total_ = part.end;
  }
  return Added::kNew;
}

}  // namespace isthmus
