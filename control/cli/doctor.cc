// `isthmus doctor`.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "control/cli/doctor_view.h"
#include "control/cli/exit_code.h"
#include "control/cli/local_commands.h"
#include "control/cli/machine_options.h"
#include "control/doctor/checks.h"
#include "control/doctor/gather.h"

namespace isthmus {

int doctor_command(const std::string& config_file, const std::string& name, const DoctorOptions& options) {
  const bool usual = config_file.empty() && access(kUsualConfigFile, F_OK) == 0;
  const GatheredFacts gathered = gather_facts({usual ? kUsualConfigFile : config_file, name});
  const std::vector<Finding> findings = examine(gathered.facts);
  const std::string text = options.json ? findings_json(findings) : findings_text(findings, options.all);
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  const int code = !written ? kExitFailure : any_fails(findings) ? kExitFindings : kExitOk;
  if (gathered.unfinished) {
    std::_Exit(code);  // a thread still waits for a hub
  }
  return code;
}

}  // namespace isthmus
