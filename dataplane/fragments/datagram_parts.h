// Which bytes of a fragmented datagram have come. Fragments of a datagram must not overlap: what a receiver makes of
// those that do is not what was looked at on the way (RFC 1858, RFC 3128, RFC 5722). One that brings nothing new is a
// duplicate, which is harmless. Offsets in bytes. Plain value.
#pragma once

#include <array>
#include <cstdint>

namespace isthmus {

class DatagramParts {
 public:
  static constexpr unsigned kMost = 16;              // parts with gaps between them
  static constexpr std::uint32_t kLongest = 0xffff;  // of a datagram, without its IP headers

  enum class Added : std::uint8_t {
    kNew,
    kDuplicate,  // nothing has changed
    kOverlaps,   // a part of it has come before, or it does not end where the last one has
    kTooMany,    // more than kMost parts
  };
  // `bytes` is not 0, and offset + bytes at most kLongest.
  [[nodiscard]] Added add(std::uint32_t offset, std::uint32_t bytes, bool last) noexcept;

  // Whether all has come, from the first byte to the last.
  [[nodiscard]] bool complete() const noexcept {
    return count_ == 1 && total_ != 0 && parts_[0].start == 0 && parts_[0].end == total_;
  }
  // The datagram's length; 0 until its last fragment has come.
  [[nodiscard]] std::uint32_t total() const noexcept { return total_; }

 private:
  struct Part {
    std::uint16_t start, end;
  };
  void insert(unsigned at, Part part) noexcept;

  std::array<Part, kMost> parts_{};  // in order, with gaps between them
  std::uint16_t total_ = 0;
  std::uint8_t count_ = 0;
};

}  // namespace isthmus
