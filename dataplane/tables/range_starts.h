// Where ranges of keys begin, with their values: sorted, in pieces of at most kMost that copies share. There is always
// a range that begins at the lowest key. Built by control before it is published, read by workers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <vector>

namespace isthmus {

template <typename Key>
class RangeStarts {
 public:
  struct Start {
    Key at{};
    std::uint32_t value = 0;
  };
  static constexpr std::size_t kMost = 256, kFew = 64;

  explicit RangeStarts(std::uint32_t value) { cut(0, 0, {Start{Key{}, value}}); }

  // The last start that is not after `wanted`.
  [[nodiscard]] const Start& find(const Key& wanted) const noexcept {
    const Piece* piece = pieces_.data();
    for (std::size_t count = pieces_.size(); count > 1;) {
      const std::size_t half = count / 2;
      piece += piece[half].first <= wanted ? half : 0;
      count -= half;
    }
    const Start* start = piece->starts.get();
    for (std::size_t count = piece->size; count > 1;) {
      const std::size_t half = count / 2;
      start += start[half].at <= wanted ? half : 0;
      count -= half;
    }
    return *start;
  }

  // Makes `now` (sorted, perhaps none) of the starts from `first` to `last`, both included.
  void replace(const Key& first, const Key& last, const std::vector<Start>& now) {
    std::size_t begin = piece_of(first), end = piece_of(last) + 1;
    std::vector<Start> merged;
    const auto append = [&](const Piece& piece, auto&& wanted) {
      std::copy_if(piece.starts.get(), piece.starts.get() + piece.size, std::back_inserter(merged), wanted);
    };
    append(pieces_[begin], [&](const Start& start) { return start.at < first; });
    merged.insert(merged.end(), now.begin(), now.end());
    append(pieces_[end - 1], [&](const Start& start) { return last < start.at; });
    if (merged.size() < kFew && end < pieces_.size()) {
      append(pieces_[end++], [](const Start&) { return true; });
    }
    cut(begin, end, merged);
  }

  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t size = 0;
    for (const Piece& piece : pieces_) {
      size += piece.size;
    }
    return size;
  }

 private:
  struct Piece {
    Key first{};
    std::size_t size = 0;
    std::shared_ptr<const Start[]> starts;
  };

  [[nodiscard]] std::size_t piece_of(const Key& key) const noexcept {
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), key,
                                        [](const Key& wanted, const Piece& piece) { return wanted < piece.first; });
    return after == pieces_.begin() ? 0 : static_cast<std::size_t>(after - pieces_.begin()) - 1;
  }
  // Puts these starts, in pieces of equal size, in the place of the pieces from `begin` to before `end`.
  void cut(std::size_t begin, std::size_t end, const std::vector<Start>& starts) {
    const std::size_t count = (starts.size() + kMost - 1) / kMost;
    std::vector<Piece> made(count);
    for (std::size_t i = 0, at = 0; i < count; ++i) {
      const std::size_t next = starts.size() * (i + 1) / count;
      auto copy = std::make_shared<Start[]>(next - at);
      std::copy(starts.begin() + static_cast<std::ptrdiff_t>(at), starts.begin() + static_cast<std::ptrdiff_t>(next),
                copy.get());
      made[i] = {starts[at].at, next - at, std::move(copy)};
      at = next;
    }
    const auto place = pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(begin),
                                     pieces_.begin() + static_cast<std::ptrdiff_t>(end));
    pieces_.insert(place, std::make_move_iterator(made.begin()), std::make_move_iterator(made.end()));
  }

  std::vector<Piece> pieces_;  // never none
};

}  // namespace isthmus
