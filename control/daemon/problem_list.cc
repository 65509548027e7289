#include "control/daemon/problem_list.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace isthmus {
namespace {

bool tells_of_hubs(const std::string& part) { return part == "hub" || part == "model" || part == "own objects"; }

}  // namespace

void ProblemList::set(const std::string& part, const std::vector<Error>& problems) {
  std::vector<Error>& last = given_[part];
  if (last == problems) {  // most often: nothing to do but to tell of lines that were left out
    log_suppressed();
    return;
  }
  last = problems;
  const auto now = now_();
  std::map<std::string, Entry>& old = parts_[part];
  std::map<std::string, Entry> present;
  for (std::size_t place = 0; place < problems.size(); ++place) {
    std::string text = problems[place].text();
    const auto known = old.find(text);
    if (known != old.end()) {
      present.insert(old.extract(known)).position->second.place = place;
    } else if (present.find(text) == present.end()) {
      log(part, problems[place], text);
      present.emplace(std::move(text), Entry{problems[place], now, place});
    }
  }
  for (const auto& [text, entry] : old) {
    log(part, entry.problem, "resolved: " + text);
  }
  old = std::move(present);
  log_suppressed();
}

void ProblemList::log(const std::string& part, const Error& problem, const std::string& line) {
  if (pace_.take(part, problem.fix, now_())) {
    spdlog::warn("{}", line);
  }
}

void ProblemList::log_suppressed() {
  for (const auto& [part, lines] : pace_.take_suppressed(now_())) {
    spdlog::warn("{}: {} more problems appeared or were resolved; isthmus status lists those that stand", part, lines);
  }
}

void ProblemList::set_one(const std::string& part, const std::optional<Error>& problem) {
  set(part, problem ? std::vector<Error>{*problem} : std::vector<Error>{});
}

void ProblemList::set_status(const std::string& part, const Status& status) {
  set(part, status.ok() ? std::vector<Error>{} : std::vector<Error>{status.error()});
}

std::optional<std::string> ProblemList::first(const std::string& part) const {
  const auto at = given_.find(part);
  return at == given_.end() || at->second.empty() ? std::nullopt : std::optional(at->second.front().text());
}

std::vector<ProblemRow> ProblemList::rows() const {
  std::vector<std::pair<bool, const Entry*>> entries;  // not of the hubs, entry; by part
  for (const auto& [part, of_part] : parts_) {
    const auto first = static_cast<std::ptrdiff_t>(entries.size());
    for (const auto& [text, entry] : of_part) {
      entries.emplace_back(!tells_of_hubs(part), &entry);
    }
    std::sort(entries.begin() + first, entries.end(),
              [](const auto& a, const auto& b) { return a.second->place < b.second->place; });
  }
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto now = now_();
  std::vector<ProblemRow> rows;
  for (const auto& [later, entry] : entries) {
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry->since).count();
    rows.push_back({entry->problem.where, entry->problem.what, entry->problem.fix, static_cast<std::uint64_t>(age)});
  }
  return rows;
}

std::size_t ProblemList::size() const {
  std::size_t count = 0;
  for (const auto& [part, entries] : parts_) {
    count += entries.size();
  }
  return count;
}

}  // namespace isthmus
