// What `isthmus doctor` says of one thing: what was found, why it matters, and what to do. Plain values, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isthmus {

enum class FindingLevel : std::uint8_t {
  kOk,
  kNote,   // to know; also what could not be seen
  kSlow,   // it works, but slower or losing more than it could
  kFails,  // it will not start, or not do what it is for
};
[[nodiscard]] constexpr std::string_view level_name(FindingLevel level) {
  constexpr std::string_view kNames[] = {"ok", "note", "slow", "fails"};
  return kNames[static_cast<std::size_t>(level)];
}

struct Finding {
  FindingLevel level = FindingLevel::kOk;
  std::string check;  // the name of its row in checks.cc
  std::string found;
  std::string why, fix;  // empty where all is well
  friend bool operator==(const Finding&, const Finding&) = default;
};

// What one check has found.
class Findings {
 public:
  void ok(std::string found) { add(FindingLevel::kOk, std::move(found), "", ""); }
  void note(std::string found, std::string why, std::string fix) {
    add(FindingLevel::kNote, std::move(found), std::move(why), std::move(fix));
  }
  void slow(std::string found, std::string why, std::string fix) {
    add(FindingLevel::kSlow, std::move(found), std::move(why), std::move(fix));
  }
  void fails(std::string found, std::string why, std::string fix) {
    add(FindingLevel::kFails, std::move(found), std::move(why), std::move(fix));
  }
  [[nodiscard]] bool empty() const { return all_.empty(); }
  [[nodiscard]] std::vector<Finding> take() { return std::move(all_); }

 private:
  void add(FindingLevel level, std::string found, std::string why, std::string fix) {
    all_.push_back({level, "", std::move(found), std::move(why), std::move(fix)});
  }
  std::vector<Finding> all_;
};

}  // namespace isthmus
