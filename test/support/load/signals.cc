#include "test/support/load/signals.h"

#include <csignal>

namespace isthmus::load {
namespace {
volatile std::sig_atomic_t stop = 0;
void on_signal(int) { stop = 1; }
}  // namespace

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;  // without SA_RESTART: interrupts a wait
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

bool stop_requested() noexcept { return stop != 0; }

}  // namespace isthmus::load
