// Rows about policy fields: policies, and the verdicts that they must give. See policy_fixture.h for the pods.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "test/unit/policy/policy_fixture.h"

namespace isthmus::policy_test {

inline constexpr bool kIn = false, kOut = true;

// One question: do the egress policies of `from`, or the ingress policies of `to`, let the packet pass?
struct Ask {
  bool egress;
  const char *from, *to;
  std::uint8_t protocol;
  std::uint16_t port;
  bool passes;
};
struct Row {
  const char* name;
  std::string policies;
  std::vector<Ask> asks;
};

inline void expect_verdicts(const Row& row) {
  PolicyHub hub;
  hub.policy(row.policies);
  ASSERT_THAT(hub.errors(), ::testing::IsEmpty());
  for (const Ask& ask : row.asks) {
    const PolicyVerdict verdict = ask.egress ? hub.egress(ask.from, ask.to, ask.protocol, ask.port)
                                             : hub.ingress(ask.from, ask.to, ask.protocol, ask.port);
    EXPECT_EQ(allowed(verdict), ask.passes) << (ask.egress ? "egress " : "ingress ") << ask.from << " > " << ask.to
                                            << " protocol " << unsigned{ask.protocol} << " port " << ask.port;
  }
}

inline std::string in(const std::string& rule) { return cnp("  endpointSelector: {}\n  ingress:\n  - " + rule); }
inline std::string out(const std::string& rule) { return cnp("  endpointSelector: {}\n  egress:\n  - " + rule); }
inline std::string from(const std::string& selector) { return in("fromEndpoints: [" + selector + "]"); }
inline std::string kin(const std::string& rule) { return knp("  podSelector: {}\n  ingress:\n  - " + rule); }

}  // namespace isthmus::policy_test
