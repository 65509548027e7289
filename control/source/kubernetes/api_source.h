// A Source that follows an API server: one thread of its own runs every watch; what the objects mean is given by an
// ApiObjects. Threads: the methods are control's and never wait for the server or the thread; deltas, problems and
// states cross over by a queue and a snapshot under a mutex that is held for a swap. Destruction ends every watch at
// once. Failure: start() fails when the access cannot be read; afterwards everything is retried and shown in states().
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
  std::string kubeconfig;  // a path, or several with colons between; empty: the pod's service account
  std::string context;     // of the kubeconfig; empty: its current one
  std::string service_account_folder = kServiceAccountFolder;
  std::vector<std::pair<std::string, std::string>> headers;  // for a proxy before the server
  bool streaming_lists = true;                               // where the server can
  ApiTimes times;
};

class ApiSource : public Source {
 public:
  // Makes the meaning for the server of that url.
  using MakeObjects = std::function<std::unique_ptr<ApiObjects>(const std::string& server)>;
  ApiSource(std::string description, ApiServerOptions options, MakeObjects make);
  ~ApiSource() override;
  ApiSource(const ApiSource&) = delete;
  ApiSource& operator=(const ApiSource&) = delete;

  [[nodiscard]] Status start() override;
  [[nodiscard]] int fd() const override;
  [[nodiscard]] std::vector<ObjectDelta> poll() override;
  [[nodiscard]] std::vector<SourceProblem> problems() const override;
  // True also when a resource is refused or not served: states() tells.
  [[nodiscard]] bool synced() const override;
  [[nodiscard]] std::string describe() const override;
  [[nodiscard]] std::vector<HubState> states() const override;

 private:
  class Loop;
  std::string description_;
  ApiServerOptions options_;
  MakeObjects make_;
  std::unique_ptr<Loop> loop_;
};

}  // namespace isthmus
