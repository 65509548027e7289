// One cluster's share of a connection: its lists read no more than so many pages a second, as Cilium's agents limit
// theirs (etcd.qps, 20), with as many at once after a while of rest. A hub that starts again with everybody's
// connections is then read at a pace that it can keep. Watches, which cost the hub one request each, are not held up.
//
// Owner: RemoteCluster, for a session; outlives the calls made through it. Thread: the loop's. A page that must wait
// is asked for later, in the order of the calls; a call whose handle is destroyed gives its place up.
#pragma once

#include <list>

#include "control/source/etcd/client.h"
#include "control/source/etcd/loop.h"

namespace isthmus {

class PacedClient final : public EtcdClient {
 public:
  // `per_second` 0: no limit. `client` outlives this object.
  PacedClient(EtcdLoop& loop, EtcdClient& client, unsigned per_second);
  ~PacedClient() override;

  [[nodiscard]] EtcdCallHandle range(const EtcdRange& range, std::int64_t limit, std::int64_t revision, OnRange done,
                                     OnFailure failed) override;
  [[nodiscard]] EtcdCallHandle watch(const EtcdRange& range, std::int64_t start_revision, OnWatch reply,
                                     OnEnd end) override {
    return client_.watch(range, start_revision, std::move(reply), std::move(end));
  }
  [[nodiscard]] EtcdCallHandle put(const std::string& key, const std::string& value, std::int64_t lease, OnDone done,
                                   OnFailure failed) override {
    return client_.put(key, value, lease, std::move(done), std::move(failed));
  }
  [[nodiscard]] EtcdCallHandle grant(std::chrono::seconds ttl, OnLease done, OnFailure failed) override {
    return client_.grant(ttl, std::move(done), std::move(failed));
  }
  [[nodiscard]] EtcdCallHandle revoke(std::int64_t lease, OnDone done, OnFailure failed) override {
    return client_.revoke(lease, std::move(done), std::move(failed));
  }
  [[nodiscard]] EtcdCallHandle keep_alive(std::int64_t lease, OnLease done, OnFailure failed) override {
    return client_.keep_alive(lease, std::move(done), std::move(failed));
  }
  [[nodiscard]] bool connected() const override { return client_.connected(); }

  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  struct Read;
  [[nodiscard]] bool may_read();
  void begin(Read& read);
  void go_on();

  EtcdClient& client_;
  const double per_second_;
  double tokens_;
  EtcdLoop::Clock::time_point filled_;
  std::list<Read*> waiting_;
  EtcdTimer timer_;
};

}  // namespace isthmus
