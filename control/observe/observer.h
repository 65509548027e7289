// The observer: takes the workers' flow events, adds names, keeps the latest and serves them to readers.
//
// Owner: ActiveGateway. Thread: control only. A reader has a position in the ring and is served when it can take more;
// one that is too slow misses the oldest and is told how many. Failure: only an invalid query is an error.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/model/defaults.h"
#include "control/observe/counts.h"
#include "control/observe/flow_metrics.h"
#include "control/observe/flow_names.h"
#include "control/observe/flow_query.h"
#include "control/observe/flow_ring.h"
#include "dataplane/api/engine.h"

namespace isthmus {

struct ObserverOptions {
  std::string node;                          // "cluster/gateway"
  std::size_t capacity = kDefaultFlowsKept;  // flows kept
};

// A running answer: the next lines, each with its line end, some 64 KiB at most; empty: none at present; nullopt: the
// end.
using FlowReader = std::function<std::optional<std::string>()>;

class Observer {
 public:
  // `engine` and `names` must outlive this. Readers may outlive it: they have ended then.
  Observer(ObserverOptions options, Engine& engine, FlowNames& names);
  ~Observer() { *self_ = nullptr; }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  // Takes what the workers have reported.
  void poll();
  [[nodiscard]] Result<FlowReader> read(const FlowQuery& query);
  [[nodiscard]] ObserverCounts counts() const;
  // Called after a poll() that received something.
  void on_flows(std::function<void()> listener) { listener_ = std::move(listener); }
  [[nodiscard]] const FlowRing& ring() const { return ring_; }
  [[nodiscard]] const FlowMetrics& metrics() const { return metrics_; }

 private:
  struct Cursor;
  [[nodiscard]] Flow flow_of(const FlowEvent& event, std::int64_t clock_offset_ns);
  void record_losses(std::int64_t now_ns);
  [[nodiscard]] std::optional<std::string> next_lines(Cursor& cursor);
  [[nodiscard]] std::uint64_t start_of(const FlowQuery& query, const FlowFilter& filter, std::int64_t since_ns) const;

  ObserverOptions options_;
  Engine& engine_;
  FlowNames& names_;
  std::vector<DropCount> drops_;  // by FlowEvent::drop_reason
  FlowRing ring_;
  FlowMetrics metrics_;
  std::vector<FlowEvent> batch_;
  std::function<void()> listener_;
  std::uint64_t seen_ = 0, unseen_ = 0, overtaken_ = 0;
  std::int64_t losses_recorded_ns_ = 0;
  // Shared with the readers, null once this is gone. Use count less one: number of readers.
  std::shared_ptr<Observer*> self_ = std::make_shared<Observer*>(this);
};

}  // namespace isthmus
