// Dates of a certificate, and whether it is of a key. Pure; thread: any; nothing throws.
#pragma once

#include <string>

#include "control/doctor/facts.h"

namespace isthmus {

// Of a bundle, the first. `key`: PEM; empty: there is none to compare.
[[nodiscard]] CertificateFacts read_certificate(const std::string& what, const std::string& pem,
                                                const std::string& key = {});

}  // namespace isthmus
