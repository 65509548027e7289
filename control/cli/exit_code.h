// The exit codes of the program, shown in its --help.
#pragma once

namespace isthmus {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,      // something could not be done
  kExitUsage = 2,        // wrong command line, or a configuration that cannot be used
  kExitUnreachable = 3,  // no gateway answers on the admin socket
  kExitFindings = 4,     // isthmus doctor has found what makes a gateway fail
};

}  // namespace isthmus
