// HotFlows: which connections are worth being handed down, as one worker sees it.
//
// A packet that begins a new second for its direction is noted with the direction's packet count; another one in one of
// the next seconds tells how many there were in between. A small direct-mapped cache has room for some of the
// directions: each stays for a second or two, then another one that falls on its place has its turn, so that of many
// hot flows some are found in every second. Those found are posted to the hand-down thread, in a queue of one producer
// and one consumer; where it is full, the post is lost and counted, and the flow is found again a second later.
// Threads: note() by the worker; take() and the threshold's owner by the hand-down thread. No allocation after
// construction.
#pragma once

#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdint>
#include <memory>

#include "dataplane/base/types.h"
#include "dataplane/stats/counter.h"

namespace isthmus {

// Refers to a connection across read sections; FlowTable::find() fails once the slot was freed.
struct FlowRef {
  std::uint32_t slot = 0;
  std::uint32_t sequence = 0;
};

class HotFlows {
 public:
  static constexpr std::uint32_t kPlaces = 16384;
  static constexpr std::size_t kPosts = 4096;

  // `packets_per_second`: that make a direction hot; at least 1.
  explicit HotFlows(std::uint32_t packets_per_second)
      : threshold_(packets_per_second), places_(std::make_unique<Place[]>(kPlaces)) {}
  HotFlows(const HotFlows&) = delete;
  HotFlows& operator=(const HotFlows&) = delete;

  // `line`: any number that stands for the direction, not 0; `packets`: of the direction so far. True: it is hot.
  [[nodiscard]] bool note(std::uint32_t line, std::uint64_t packets, Seconds now) noexcept {
    Place& place = places_[line * 0x9e3779b1u >> kShift];
    const std::uint32_t seconds = now.value() - place.since;
    const auto count = static_cast<std::uint32_t>(packets);
    if (place.line != line) {
      if (seconds > 1 || place.line == 0 || place.measured) {
        place = {line, now.value(), count, false};
      }
      return false;
    }
    if (seconds == 0) {
      return false;
    }
    const bool hot = count - place.packets >= std::uint64_t{seconds} * threshold_;
    place = {hot ? 0 : line, now.value(), count, true};  // another may have it now, or slow ones would keep it
    return hot;
  }
  void post(FlowRef flow) noexcept {
    if (!posts_.push(flow)) {
      hand_down_posts_lost_.add();
    }
  }

  // The hand-down thread.
  [[nodiscard]] bool take(FlowRef& flow) noexcept { return posts_.pop(flow); }
  [[nodiscard]] std::uint64_t lost() const noexcept { return hand_down_posts_lost_.get(); }

 private:
  static constexpr unsigned kShift = 32 - 14;
  static_assert(kPlaces == 1u << (32 - kShift));
  struct Place {
    std::uint32_t line = 0;   // 0: free
    std::uint32_t since = 0;  // seconds
    std::uint32_t packets = 0;
    bool measured = false;  // and found not hot: another line may have the place
  };

  std::uint64_t threshold_;
  std::unique_ptr<Place[]> places_;
  boost::lockfree::spsc_queue<FlowRef, boost::lockfree::capacity<kPosts>> posts_;
  Counter hand_down_posts_lost_;
};

}  // namespace isthmus
