// Runs a credential program (kubelogin, aws, gcloud) and reads what it prints. Thread: the io_context's; nothing
// blocks. The program gets no terminal; what it writes to standard error goes to ours, where its hints belong.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/exec_credential.h"

namespace boost::asio {
class io_context;
}

namespace isthmus {

class ExecRun {
 public:
  using Done = std::function<void(Result<ExecCredential>)>;
  // Calls `done` once, unless this object is destroyed before, which kills the program.
  ExecRun(boost::asio::io_context& io, const ExecPlugin& plugin, std::chrono::milliseconds limit, Done done);
  ~ExecRun();
  ExecRun(const ExecRun&) = delete;
  ExecRun& operator=(const ExecRun&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace isthmus
