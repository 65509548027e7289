// Runs a credential program (kubelogin, aws, gcloud) and parses its output. Thread: the io_context's; nothing blocks.
// The program gets no terminal; its standard error goes to ours, so that its hints reach the operator.
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
  // Calls `done` once. Destroying this object before that kills the program; `done` is not called then.
  ExecRun(boost::asio::io_context& io, const ExecPlugin& plugin, std::chrono::milliseconds timeout, Done done);
  ~ExecRun();
  ExecRun(const ExecRun&) = delete;
  ExecRun& operator=(const ExecRun&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace isthmus
