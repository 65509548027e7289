// Which addresses members of the fleet may claim: one set of rules for the prefixes of pods and nodes and for VIPs,
// whichever hub tells them. What a rule refuses is used nowhere, and listed as a problem.
//
// Plain functions of one claim; which of several claims came first is the compiler's to know. Thread: any.
#pragma once

#include <string>

#include "config/model/admission_rules.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Why the claim is refused, as the end of a sentence that begins with the claim ("which is ..."); empty: it is not.
// `own`: of our own cluster, whose pods may have any unicast addresses.
[[nodiscard]] std::string refuse_pods(const AdmissionRules& rules, const Prefix& prefix, bool own);
[[nodiscard]] std::string refuse_nodes(const AdmissionRules& rules, const Prefix& prefix);
[[nodiscard]] std::string refuse_vip(const AdmissionRules& rules, const IpAddress& address);

}  // namespace isthmus
