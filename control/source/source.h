// A hub as control sees it: a file descriptor to wait on, and deltas when it is readable.
// Adding a hub: one folder beside this file and one line in control/daemon. Thread: control only; nothing blocks.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/model/objects.h"
#include "control/source/object_report.h"
#include "dataplane/api/types.h"

namespace isthmus {

// State of one part of a hub: a cluster's etcd, a resource of an API server. For `isthmus status --hub` and metrics.
struct HubState {
  enum class Sync : std::uint8_t { kConnecting, kListing, kSynced, kStale, kFailed };
  std::string hub;     // which of the hubs it is part of: "etcd", "kubernetes", "fleet"; set by who owns the source
  std::string name;    // the cluster's, or the resource's
  std::string server;  // the server that answers, or was asked last
  std::vector<std::string> servers;  // its further servers, and the address that a name stood for when it answered
  Sync sync = Sync::kConnecting;     // kStale: was synced, is not connected, and its data stays in force
  std::uint64_t objects = 0;         // in force
  std::uint64_t events = 0;          // changes received since start
  std::uint64_t rejected = 0;        // values refused since start
  std::uint64_t connects = 0;        // connections made since start
  std::optional<std::chrono::steady_clock::time_point> last_event;  // anything the server sent for us, heartbeats too
  std::string last_error;                                           // empty: none since start
  std::vector<std::string> invalid_keys;  // with a value that is rejected at present, ten at most
  bool listed = false;                    // everything that there was at first has been read once
  std::uint64_t retained = 0;             // objects missing from the hub that stay in force, see problems()
  std::string kind;                       // of an API server's resource: the kind of its objects
  bool policies = false;                  // one of those that policies are made of
  bool absent = false;                    // the server does not have it, or withholds it: see Source::withholds()
};

// What a member of the fleet had before a restart, as far as its hub has not said it again.
struct RestoredMember {
  ClusterId id;                               // kNoCluster: said again
  std::map<std::string, IpAddress> gateways;  // underlay addresses, by name
  friend bool operator==(const RestoredMember&, const RestoredMember&) = default;
};
using RestoredMembers = std::map<std::string, RestoredMember>;  // by cluster

class Source {
 public:
  virtual ~Source() = default;
  // Reads everything there is and starts following. Deltas come from poll().
  [[nodiscard]] virtual Status start() = 0;
  // Readable (epoll, level-triggered) when poll() has work or problems() are other ones; constant between start() and
  // destruction.
  [[nodiscard]] virtual int fd() const = 0;
  // Changes since the last call, in an order in which they may be applied. What fails to parse is kept at its last good
  // version and listed in problems().
  [[nodiscard]] virtual std::vector<ObjectDelta> poll() = 0;
  // Those of now.
  [[nodiscard]] virtual std::vector<SourceProblem> problems() const = 0;
  // A person asks to look at everything again (SIGHUP); what that finds comes from poll(). For sources that may miss
  // a change; others have nothing to do.
  virtual void reload() {}
  // True once everything that was there at start() has been returned by poll().
  [[nodiscard]] virtual bool synced() const = 0;
  // True once poll() has returned every object that there was at first of the kinds that policies are made of. What
  // this gateway may not read, or cannot, is not known to be empty. Never false again: what is lost later stays in
  // force.
  [[nodiscard]] virtual bool policies_listed() const { return true; }
  // True once poll() has returned all that there was at first of that kind in that member of the fleet; also where the
  // hub has been found to have no such member. `cluster`: of the key; of a fleet object the cluster that it is of,
  // empty for a profile.
  [[nodiscard]] virtual bool listed(ObjectKind /*kind*/, const std::string& /*cluster*/) const { return synced(); }
  // True while the hub does not say to this gateway what it has of that kind, and need not: what is known of it stands.
  [[nodiscard]] virtual bool withholds(ObjectKind /*kind*/) const { return false; }
  // Whether it follows a part of that name, a cluster or a kind, before start() too. What was kept of another part says
  // nothing of this hub.
  [[nodiscard]] virtual bool follows(const std::string& /*part*/) const { return true; }
  // Before start(), and again when there are fewer: what these members had stays theirs, whoever is read first.
  virtual void set_restored(const RestoredMembers& /*members*/) {}
  [[nodiscard]] virtual std::string describe() const = 0;
  // What is configured as this hub, before start() too: what was kept of another one is not this one's. Nothing: it
  // cannot be told at present.
  [[nodiscard]] virtual std::optional<std::string> identity() const = 0;
  // For a hub that wants to be told what becomes of its objects: those that poll() has returned so far. Null: others.
  [[nodiscard]] virtual std::shared_ptr<const ReportableObjects> reportable() const { return nullptr; }
  // To be written there as far as it is not there yet; the last one counts.
  virtual void report(std::shared_ptr<const GatewayReport> /*report*/) {}
  // One for each part; empty for a source that is read at once.
  [[nodiscard]] virtual std::vector<HubState> states() const { return {}; }
};

}  // namespace isthmus
