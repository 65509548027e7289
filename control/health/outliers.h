// Outlier ejection of the backends of one service, as this gateway sees them: a backend to which connections in a row
// do not open takes no new ones for a time. Established connections are not concerned.
//
// What is believed: a failure counts against the backend unless its client has failed at another backend of the service
// too and was answered by none (policy or the network keeps such a client from all of them). Failures of two clients
// at least are asked for, unless the service has one client only. Any answer of the backend begins anew. A share of the
// backends that stand for each other (a Pool) is left out at most, and never the last of them.
//
// Owner: ServiceSet. Thread: control. A pure state machine: it knows only the time that it is given. Memory: bounded by
// the service's backends and kMostClients. Cannot fail.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "config/model/outlier_ejection.h"
#include "dataplane/api/openings.h"
#include "dataplane/api/types.h"

namespace isthmus {

class Outliers {
 public:
  using Time = std::chrono::seconds;                // of any clock that does not go back
  static constexpr std::size_t kMostClients = 128;  // with failures
  static constexpr unsigned kMostDoublings = 4;     // of the time for which a backend is left out

  // Backends of which any can take the place of another: those of one cluster for one port.
  struct Pool {
    ClusterId cluster;
    L4Port port;
    IpProtocol protocol = IpProtocol::kTcp;
    Family family = Family::kIpv4;
    friend auto operator<=>(const Pool&, const Pool&) = default;
  };
  struct Change {
    BackendId backend;
    bool ejected = false;   // false: it has returned
    unsigned failures = 0;  // in a row, of an ejected one
    Time time{0};           // for so long
    friend bool operator==(const Change&, const Change&) = default;
  };

  // Without rules nothing is remembered, and settle() lets all return.
  void set_rules(const OutlierEjection& rules) { rules_ = rules; }
  // Each pass over the service: begin(), see() for every backend that would take new connections, end(), which forgets
  // the others.
  void begin();
  void see(BackendId backend, const Pool& pool);
  void end();

  // Takes what is heard of one connection. What is heard of backends that are not known changes nothing.
  void note(const OpeningOutcome& outcome, Time now);
  // What has been heard so far says nothing: some of it was lost.
  void begin_anew();
  // Ejects whom there is reason to eject, by the backends of the last pass, and lets return whose time is over, or who
  // is more than the share.
  [[nodiscard]] std::vector<Change> settle(Time now);
  // Whether settle() would change something.
  [[nodiscard]] bool due(Time now) const;

  [[nodiscard]] bool on() const { return rules_.failures != 0; }
  // kNoCluster: it is not known.
  [[nodiscard]] ClusterId cluster_of(BackendId backend) const;
  // The end of its time. Nothing: it is not ejected.
  [[nodiscard]] std::optional<Time> ejected_until(BackendId backend) const;
  [[nodiscard]] std::optional<Time> next_return() const;
  [[nodiscard]] std::size_t ejected() const { return returns_.size(); }

 private:
  static constexpr std::size_t kMostWitnesses = 8;
  struct Backend {
    Pool pool;
    bool seen = false;
    unsigned failures = 0;          // in a row
    Time last{0};                   // of them
    std::set<IpAddress> witnesses;  // clients of these failures
    bool others = false;            // the service had other clients meanwhile
    unsigned ejections = 0;         // in a row: without an answer in between
    std::optional<Time> until;      // it is ejected
    void forget_failures();
  };
  // One that has failed.
  struct Client {
    std::uint64_t turn = 0;  // of its last failure, among all
    Time failed{0};
    BackendId failed_at;
    bool failed_elsewhere = false;  // at another backend too
    std::optional<Time> answered;
  };
  struct Answered {
    IpAddress client;
    Time at{0};
  };

  void note_answered(const IpAddress& client, Time now);
  void note_failed(const IpAddress& client, BackendId backend, Time now);
  [[nodiscard]] bool is_believed(const IpAddress& client, Time now) const;
  [[nodiscard]] bool has_others(const IpAddress& than, Time now) const;
  [[nodiscard]] bool is_outlier(const Backend& backend, Time now) const;
  [[nodiscard]] std::size_t allowed(const Pool& pool) const;
  [[nodiscard]] std::size_t ejected_in(const Pool& pool) const;
  [[nodiscard]] Time time_of(const Backend& backend) const;
  [[nodiscard]] bool has_surplus(const Pool& pool) const { return ejected_in(pool) > allowed(pool); }
  void add_witness(Backend& backend, const IpAddress& client, Time now);
  void eject(BackendId id, Backend& backend, Time now, std::vector<Change>& changes);
  void let_return(BackendId id, std::vector<Change>& changes);

  OutlierEjection rules_;
  std::map<BackendId, Backend> backends_;
  std::map<Pool, std::size_t> pools_;  // how many backends each has
  std::map<BackendId, Time> returns_;  // of the ejected ones
  bool surplus_ = false;               // a pool has more ejected ones than it may, as of the last pass
  std::map<IpAddress, Client> clients_;
  std::array<Answered, 2> answered_;  // the last one, and the last other one
  std::uint64_t turns_ = 0;
};

}  // namespace isthmus
