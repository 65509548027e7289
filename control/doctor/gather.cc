#include "control/doctor/gather.h"

#include <ctime>

#include "config/load/load.h"
#include "control/doctor/hub_probe.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kHubDeadline{10'000};

void read_configuration(const GatherOptions& options, Facts& facts) {
  facts.file = options.file;
  if (options.file.empty()) {
    return;
  }
  const auto text = read_config_text(options.file);
  if (!text) {
    facts.config_errors = {text.error()};
    return;
  }
  facts.config_errors = check_config(*text, options.file, options.name);
  if (auto config = parse_config(*text, options.file, options.name); config) {
    facts.config = *std::move(config);
  }
}

}  // namespace

GatheredFacts gather_facts(const GatherOptions& options) {
  GatheredFacts gathered;
  Facts& facts = gathered.facts;
  facts.now = std::time(nullptr);
  read_configuration(options, facts);
  read_system_facts(facts);
  read_network_facts(facts);
  if (facts.config) {
    read_dpdk_facts(facts);
    read_gateway_facts(facts);
    HubProbes probes = probe_hubs(*facts.config, kHubDeadline);
    facts.hubs = std::move(probes.hubs);
    gathered.unfinished = probes.unfinished;
  }
  return gathered;
}

}  // namespace isthmus
