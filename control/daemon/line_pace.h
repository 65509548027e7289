// How many lines about problems may be logged: of each kind, and of each part of the gateway, some at once and one a
// second after that. What is left out is counted by part. Plain values, in the caller's time; any one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace isthmus {

class LinePace {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr int kOfKind = 20, kOfPart = 200;
  static constexpr std::chrono::seconds kEach{1}, kTell{10};

  // Whether a line may be logged now. `kind` is one of `part`.
  [[nodiscard]] bool take(const std::string& part, const std::string& kind, Time now) {
    Bucket& all = parts_[part];
    Bucket& own = kinds_[{part, kind}];
    if (all.room(kOfPart, now) && own.room(kOfKind, now)) {
      all.full_at += kEach;
      own.full_at += kEach;
      return true;
    }
    ++suppressed_[part].lines;
    return false;
  }
  // How many lines were left out by part, told at once and then every kTell; each is told once.
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> take_suppressed(Time now) {
    std::vector<std::pair<std::string, std::uint64_t>> told;
    for (auto& [part, left_out] : suppressed_) {
      if (left_out.lines > 0 && now >= left_out.next) {
        told.emplace_back(part, std::exchange(left_out.lines, 0));
        left_out.next = now + kTell;
      }
    }
    std::erase_if(kinds_, [now](const auto& entry) { return entry.second.full_at <= now; });
    return told;
  }

 private:
  struct Bucket {
    Time full_at;  // when as many lines as ever may be logged again
    [[nodiscard]] bool room(int size, Time now) {
      full_at = std::max(full_at, now);
      return full_at - now <= (size - 1) * kEach;
    }
  };
  struct LeftOut {
    std::uint64_t lines = 0;
    Time next;
  };
  std::map<std::string, Bucket> parts_;
  std::map<std::pair<std::string, std::string>, Bucket> kinds_;
  std::map<std::string, LeftOut> suppressed_;
};

}  // namespace isthmus
