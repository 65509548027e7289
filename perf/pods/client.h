// The pod that asks: requests of 64 bytes, one after the other, each with its answer's time; and a stream of TCP.
// One flow of each kind lasts as long as the client, so that it stays handed down from turn to turn.
// Thread: one. Failure: as in sockets.h; a request without an answer is one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/io/unique_fd.h"

namespace isthmus::perf {

// What a turn took. `busy`: CPU time of all of the machine but that of processes with a nice value, by 10 ms.
struct TurnTime {
  double seconds = 0, busy = 0;
};

struct AskedTurn {
  TurnTime time;
  std::vector<std::uint32_t> nanoseconds;  // of every request, ascending
};

struct StreamedTurn {
  TurnTime time;
  std::uint64_t bytes = 0;          // acknowledged
  std::uint64_t retransmitted = 0;  // segments
};

class PodClient {
 public:
  explicit PodClient(const std::string& address);

  [[nodiscard]] AskedTurn ask_udp(unsigned requests);
  [[nodiscard]] AskedTurn ask_tcp(unsigned requests);
  // The first fifth of a second more is not measured: the sender's window opens.
  [[nodiscard]] StreamedTurn stream(double seconds);

 private:
  UniqueFd datagrams_, requests_, stream_;
  std::uint64_t number_ = 0;
  std::uint64_t written_ = 0;  // bytes of the stream
};

}  // namespace isthmus::perf
