// perf-pods: the two pods of io/xdp/latency and io/xdp/tcp; the harness puts them into network namespaces.
//   perf-pods serve              answers until it is ended
//   perf-pods ask ADDRESS        reads a turn a line, and answers each with a line of JSON:
//     udp N, tcp N               N requests, one after the other
//     stream SECONDS             as much as goes through one TCP connection
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>

#include "perf/figures/stopwatch.h"
#include "perf/pods/client.h"
#include "perf/pods/server.h"
#include "perf/pods/sockets.h"

namespace isthmus::perf {
namespace {

void print_time(const TurnTime& time) {
  std::printf("{\"seconds\": %.6f, \"busy\": %.3f, \"tsc_mhz\": %.3f", time.seconds, time.busy, tsc_rate() / 1e6);
}

void print_turn(const AskedTurn& turn) {
  print_time(turn.time);
  const std::size_t count = turn.nanoseconds.size();
  const auto at = [&](double share) {
    const auto place = static_cast<std::size_t>(std::ceil(share * static_cast<double>(count)));
    return turn.nanoseconds[std::clamp<std::size_t>(place, 1, count) - 1] * 1e-3;
  };
  std::printf(", \"requests\": %zu, \"p50\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f}\n", count, at(0.5),
              at(0.99), at(0.999), at(1));
}

void print_turn(const StreamedTurn& turn) {
  print_time(turn.time);
  std::printf(", \"bytes\": %llu, \"retransmitted\": %llu}\n", static_cast<unsigned long long>(turn.bytes),
              static_cast<unsigned long long>(turn.retransmitted));
}

void ask_pod(const std::string& address) {
  PodClient client(address);
  std::string kind;
  for (double amount = 0; std::cin >> kind >> amount;) {
    if (amount <= 0) {
      end_with("a turn of " + kind + " needs a positive number");
    }
    if (kind == "udp") {
      print_turn(client.ask_udp(static_cast<unsigned>(amount)));
    } else if (kind == "tcp") {
      print_turn(client.ask_tcp(static_cast<unsigned>(amount)));
    } else if (kind == "stream") {
      print_turn(client.stream(amount));
    } else {
      end_with(kind + " is no kind of turn: udp, tcp, stream");
    }
    std::fflush(stdout);
  }
}

void stay_on(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(core), &cores);
  if (sched_setaffinity(0, sizeof cores, &cores) != 0) {
    end_with("cannot stay on core " + std::to_string(core));
  }
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  std::string address;
  int core = -1;
  CLI::App app("A pod that asks, and a pod that is asked.", "perf-pods");
  app.require_subcommand(1);
  app.add_option("--core", core, "stay on this core")->check(CLI::Range(0, CPU_SETSIZE - 1));
  const CLI::App* serve = app.add_subcommand("serve", "answer requests and take in streams, until ended");
  CLI::App* ask = app.add_subcommand("ask", "read turns, a line each: udp N, tcp N, stream SECONDS");
  ask->add_option("address", address, "of the pod that serves")->required();
  CLI11_PARSE(app, argc, argv);
  if (core >= 0) {
    isthmus::perf::stay_on(core);
  }
  if (*serve) {
    isthmus::perf::serve_pod();
  }
  isthmus::perf::ask_pod(address);
  return 0;
}
