// The hubs of one gateway: opens those that the configuration names, and feeds what they publish to the model.
// To add a kind of hub: a folder under control/source, and a block in open(). Owner: Gateway. Thread: control.
// Failure: a hub that cannot be opened is an error of open(); later failures are problems, and the last good state
// stays.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/loop/event_loop.h"
#include "control/model/model.h"
#include "control/restore/claim_holders.h"
#include "control/restore/intake.h"
#include "control/restore/keeper.h"
#include "control/source/etcd/registration.h"
#include "control/source/source.h"

namespace isthmus {

class Hubs {
 public:
  // Starts all of them; `on_change` is called when one has changes for take(). What was known before a restart is in
  // the model when it returns. `model` must outlive this.
  [[nodiscard]] Status open(const GatewayConfig& config, EventLoop& loop, Model& model,
                            std::function<void()> on_change);
  // Called once this gateway serves: registers it where the configuration names a hub to write to.
  void announce(const GatewayConfig& config, const OwnGateway& own);
  // Lets another gateway of this name have what is kept; `released` is called on the loop. And goes on with it.
  void release(std::function<void()> released);
  void regain();
  // Follows them no longer, and keeps nothing: another gateway of this name does.
  void close();
  // Between the two `on_change` is not called: the model is in use elsewhere, and what the hubs say waits with them.
  void pause();
  void resume();
  // Applies the changes since the last call to the model, and whether all policies are in it; with time, also those of
  // what is held or restored. `answers`: whether a gateway answers probes. False when there were none.
  bool take(Model& model, const Intake::Answers& answers);
  // Reads every hub again, on a person's request.
  void reload();

  [[nodiscard]] bool synced() const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;
  // Tells hubs that want to know what becomes of their objects: calls `make` for each of them with those that take()
  // has applied so far. What is as last told is not told again.
  void report(const std::function<GatewayReport(const ReportableObjects&)>& make);
  // One line about each hub.
  [[nodiscard]] std::vector<std::string> describe() const;
  [[nodiscard]] std::vector<HubState> states() const;
  // What is as it was before the restart.
  [[nodiscard]] std::vector<RestoredView> restored() const;
  // Who has what is disputed: as kept before the restart until it is told anew.
  [[nodiscard]] ClaimHolders& holders() { return holders_; }

 private:
  // In order of precedence: of an object that several publish, the first one's is used.
  struct Named {
    const char* hub;  // as the configuration names it
    std::unique_ptr<Source> source;
    RestoredMembers restored{};                          // as told to it
    std::shared_ptr<const GatewayReport> reported = {};  // the same
  };
  void open_keeper(const GatewayConfig& config, Model& model);
  void keep(std::size_t hub, std::vector<ObjectDelta> deltas);
  void keep_times();
  void keep_holds(Intake::Clock::time_point now);
  void keep_seen(const std::string& hub, const std::string& name, const KeptTime& time);
  void keep_anew(const Model& model, Intake::Clock::time_point now);
  void tell_restored();
  // Of the members that had something before the restart: whose hubs have said all.
  const Model::Listed& find_listed();

  std::vector<Named> sources_;
  EventLoop* loop_ = nullptr;
  std::function<void()> on_change_;
  bool paused_ = false;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Keeper> keeper_;
  ClaimHolders holders_{nullptr, {}};
  std::optional<Error> keeper_error_;
  std::set<std::string> members_;  // our own, and those that had something before the restart
  Model::Listed listed_;           // never less
  std::map<std::pair<std::string, std::string>, KeptTime> seen_;  // as it is kept, by hub and part
  std::size_t synced_parts_ = 0;
  Intake::Clock::time_point times_kept_;
  std::unique_ptr<EtcdRegistration> registration_;  // null: not configured, or not serving yet
};

}  // namespace isthmus
