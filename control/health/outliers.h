// Outlier ejection of the backends of one service, as this gateway sees them: a backend to which connections in a row
// do not open takes no new ones for a time. Established connections are not concerned.
//
// What is believed: a failure is told only if the backend has answered nobody meanwhile
// (dataplane/slowpath/openings.h). It counts against the backend unless its client has failed at another backend of the
// service too and was answered by none (policy or the network keeps such a client from all of them). Any answer of the
// backend begins anew. Whom to believe cannot be told from one witness: two at least are asked for, and of the failures
// in a row one witness contributes half at most, so that one with many needs more than a single failure of somebody
// else. A witness is a client that is a published endpoint; of other addresses, which whoever can send from one may be
// able to make up, a prefix of kIpv4Prefix or kIpv6Prefix is one witness. What two who act together can do is bounded:
// a share of the backends that stand for each other (a Pool) is left out at most, and never the last of them.
//
// Owner: ServiceSet. Thread: control. A pure state machine: it knows only the time that it is given. Memory: bounded by
// the service's backends and kMostClients. Cannot fail.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
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
  static constexpr std::uint8_t kIpv4Prefix = 24, kIpv6Prefix = 64;

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
  // Costs a few steps for each backend, however many are ejected. Ejects whom there is reason to eject, by the backends
  // of the last pass, and lets return whose time is over, or who is more than the share.
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
    unsigned failures = 0;                    // in a row
    Time last{0};                             // of them
    std::map<IpAddress, unsigned> witnesses;  // of these failures, and of how many
    unsigned ejections = 0;                   // in a row: without an answer in between
    std::optional<Time> until;                // it is ejected
    void forget_failures();
  };
  // A witness that has failed.
  struct Client {
    std::uint64_t turn = 0;  // of its last failure, among all
    Time failed{0};
    BackendId failed_at;
    bool failed_elsewhere = false;  // at another backend too
    std::optional<Time> answered;
  };
  // How many backends it has, and how many of them are ejected.
  struct Count {
    std::size_t all = 0, ejected = 0;
    [[nodiscard]] std::size_t allowed(unsigned max_percent) const;
  };

  [[nodiscard]] static IpAddress witness_of(const OpeningOutcome& outcome);
  void note_answered(const IpAddress& client, Time now);
  void note_failed(const IpAddress& client, BackendId backend, Time now);
  [[nodiscard]] bool is_believed(const IpAddress& client, Time now) const;
  [[nodiscard]] bool is_outlier(const Backend& backend, Time now) const;
  [[nodiscard]] bool has_room(const Count& pool) const { return pool.ejected < pool.allowed(rules_.max_percent); }
  [[nodiscard]] bool has_surplus(const Count& pool) const { return pool.ejected > pool.allowed(rules_.max_percent); }
  [[nodiscard]] Time time_of(const Backend& backend) const;
  void add_witness(Backend& backend, const IpAddress& client, Time now);
  void eject(BackendId id, Backend& backend, Time now, std::vector<Change>& changes);
  void let_return(BackendId id, std::vector<Change>& changes);

  OutlierEjection rules_;
  std::map<BackendId, Backend> backends_;
  std::map<Pool, Count> pools_;
  std::map<BackendId, Time> returns_;    // of the ejected ones
  bool surplus_ = false;                 // a pool has more ejected ones than it may, as of the last pass
  std::map<IpAddress, Client> clients_;  // by witness
  std::uint64_t turns_ = 0;
};

}  // namespace isthmus
