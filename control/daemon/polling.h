// Which workers of an engine have stopped polling their queues: stuck, or kept from their CPUs. Owner: Gateway. Thread:
// control. Pure: it compares what Engine::polls() says with what it said before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

class Polling {
 public:
  // Workers that have not polled since the last call, which should be at least half a second ago.
  [[nodiscard]] std::vector<std::size_t> standing(std::vector<std::uint64_t> polls);
  // Before the workers of another engine, or of one that was stopped.
  void forget() { before_.clear(); }

 private:
  std::vector<std::uint64_t> before_;
};

// What a person is told of them; nullopt: none stands.
[[nodiscard]] std::optional<Error> polling_problem(const std::vector<std::size_t>& standing);

}  // namespace isthmus
