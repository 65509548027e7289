#include <string>

#include "control/doctor/check_list.h"

namespace isthmus::doctor {
namespace {

constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kSoon = 14 * kDay;

std::string days(std::int64_t seconds) {
  const std::int64_t number = seconds / kDay;
  return number == 0 ? std::to_string(seconds / 3600) + " hours" : std::to_string(number) + " days";
}

}  // namespace

void check_hubs(const Facts& facts, Findings& findings) {
  for (const HubFacts& hub : facts.hubs) {
    if (!hub.error) {
      findings.ok(hub.what + " at " + hub.where + ": " + hub.said);
    } else if (!facts.process.root && hub.error->what.find("Permission denied") != std::string::npos) {
      findings.note(hub.what + " at " + hub.where + ": " + hub.error->what,
                    "this user may not read what the gateway reads", "run isthmus doctor as root");
    } else {
      findings.fails(hub.what + " at " + hub.where + ": " + hub.error->what,
                     hub.denied ? "what it withholds stays unknown: pods of which policies are unknown are closed"
                                : "the gateway serves what it knew last, or nothing of it",
                     hub.error->fix);
    }
  }
}

void check_certificates(const Facts& facts, Findings& findings) {
  bool any = false;
  for (const HubFacts& hub : facts.hubs) {
    for (const CertificateFacts& certificate : hub.certificates) {
      any = true;
      const std::string renew = "renew it, and put it in the place of the old one: it is read for every connection";
      if (!certificate.problem.empty()) {
        findings.fails(certificate.what + " " + certificate.problem, "the hub is not reached with it", renew);
      } else if (certificate.not_after < facts.now) {
        findings.fails(certificate.what + " has expired " + days(facts.now - certificate.not_after) + " ago",
                       "the hub is not reached with it", renew);
      } else if (certificate.not_before > facts.now) {
        findings.fails(certificate.what + " is not valid yet, for " + days(certificate.not_before - facts.now),
                       "the hub is not reached with it", "see to the clock of this machine, or of who signs");
      } else if (certificate.key_matches == false) {
        findings.fails(certificate.what + " is not of the key beside it", "no connection comes about with the two",
                       "put the certificate and the key of one issue there");
      } else if (certificate.not_after - facts.now < kSoon) {
        findings.slow(certificate.what + " expires in " + days(certificate.not_after - facts.now),
                      "the hub is not reached from then on", renew);
      } else {
        findings.ok(certificate.what + ": for " + days(certificate.not_after - facts.now));
      }
    }
  }
  if (!any) {
    findings.ok("none in files");
  }
}

}  // namespace isthmus::doctor
