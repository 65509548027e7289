// What a process that is killed leaves of its connection table.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/conntrack/flow_fixture.h"

namespace isthmus::flow_test {

// Runs `body` with a table of these options in a child process that then kills itself with SIGKILL.
template <typename Body>
void in_killed_process(const FlowTable::Options& options, Body&& body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Bench t(options);
    if (t.ok()) {
      body(t);
    }
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

}  // namespace isthmus::flow_test
