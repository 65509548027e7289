// A Source that watches an API server on a thread of its own; an ApiObjects interprets the objects. Threads: the
// methods are called by control and wait neither for the server nor for the thread; deltas, problems and states are
// handed over under a mutex that is held only to swap them. The destructor cancels every watch at once. Failure:
// start() fails when the kubeconfig or service account cannot be read; later errors are retried and shown in states().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/api_objects.h"
#include "control/source/kubernetes/times.h"
#include "control/source/source.h"

namespace isthmus {

struct ApiServerOptions {
  std::string kubeconfig;  // a path, or several separated by colons; empty: the pod's service account
  std::string context;     // of the kubeconfig; empty: its current-context
  std::string service_account_folder = kServiceAccountFolder;
  std::vector<std::pair<std::string, std::string>> headers;  // for a proxy in front of the server
  bool streaming_lists = true;                               // if the server supports them
  ApiTimes times;
};

class ApiSource : public Source {
 public:
  // Creates the interpreter for the server with that URL.
  using MakeObjects = std::function<std::unique_ptr<ApiObjects>(const std::string& server)>;
  ApiSource(std::string description, ApiServerOptions options, MakeObjects make_objects);
  ~ApiSource() override;
  ApiSource(const ApiSource&) = delete;
  ApiSource& operator=(const ApiSource&) = delete;

  [[nodiscard]] Status start() override;
  [[nodiscard]] int fd() const override;
  [[nodiscard]] std::vector<ObjectDelta> poll() override;
  [[nodiscard]] std::vector<SourceProblem> problems() const override;
  // True also when a resource is forbidden or not served: see states().
  [[nodiscard]] bool synced() const override;
  // An optional kind that the server does not have (404) is known to be empty; a forbidden one is not.
  [[nodiscard]] bool policies_listed() const override;
  // What the server refuses to say, in part or as a whole, is not known to be gone.
  [[nodiscard]] bool listed(ObjectKind kind, const std::string& cluster) const override;
  // A kind that this gateway need not be allowed to read, and is not.
  [[nodiscard]] bool withholds(ObjectKind kind) const override;
  [[nodiscard]] bool follows(const std::string& part) const override;
  [[nodiscard]] std::string describe() const override;
  [[nodiscard]] std::optional<std::string> identity() const override;
  [[nodiscard]] std::vector<HubState> states() const override;
  [[nodiscard]] std::shared_ptr<const ReportableObjects> reportable() const override;
  void report(std::shared_ptr<const GatewayReport> report) override;

 private:
  class Loop;
  [[nodiscard]] Result<ApiAccess> access() const;
  std::string description_;
  ApiServerOptions options_;
  MakeObjects make_objects_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace isthmus
