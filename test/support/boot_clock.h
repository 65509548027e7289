// The clock of workers and of the connection table, CLOCK_BOOTTIME, in the hands of the test: it stands still but for
// what the test adds. A program that links boot_clock.cc has it in place of the system's; its other clocks are the
// system's. Thread: one sets it, any read it.
#pragma once

#include "dataplane/base/types.h"

namespace isthmus::test {

void set_boot_clock(Nanoseconds now) noexcept;
[[nodiscard]] Nanoseconds boot_clock() noexcept;

}  // namespace isthmus::test
