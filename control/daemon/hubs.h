// The hubs of one gateway: opens those that the configuration names, and feeds what they publish to the model.
// To add a kind of hub: a folder under control/source, and a block in open(). Owner: Gateway. Thread: control.
// Failure: a hub that cannot be opened is an error of open(); later failures are problems, and the last good state
// stays.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/loop/event_loop.h"
#include "control/model/model.h"
#include "control/source/etcd/registration.h"
#include "control/source/source.h"

namespace isthmus {

class Hubs {
 public:
  // Starts all of them; `on_change` is called when one has changes for take().
  [[nodiscard]] Status open(const GatewayConfig& config, EventLoop& loop, std::function<void()> on_change);
  // Called once this gateway serves: registers it where the configuration names a hub to write to.
  void announce(const GatewayConfig& config, const OwnGateway& own);
  // Applies the changes since the last call to the model, and whether all policies are in it. False when there were
  // none.
  bool take(Model& model);
  // Reads every hub again, on a person's request.
  void reload();

  [[nodiscard]] bool synced() const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;
  // One line about each hub.
  [[nodiscard]] std::vector<std::string> describe() const;
  [[nodiscard]] std::vector<HubState> states() const;

 private:
  // In order of precedence: of an object that several publish, the first one's is used.
  struct Named {
    const char* hub;  // as the configuration names it
    std::unique_ptr<Source> source;
  };
  std::vector<Named> sources_;
  std::unique_ptr<EtcdRegistration> registration_;  // null: not configured, or not serving yet
};

}  // namespace isthmus
