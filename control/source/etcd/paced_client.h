// Rate-limits one cluster's list requests on a shared connection with a token bucket, as Cilium's agents do (etcd.qps,
// 20 a second): a restarted hub is not overloaded when all its clients list everything again. Watches cost the hub one
// request each and are not limited.
//
// Owner: RemoteCluster, for one session. Thread: the loop's. Requests over the limit wait in the order of the calls;
// destroying the handle of a waiting call removes it from the queue.
#pragma once

#include <list>

#include "control/source/etcd/client.h"
#include "control/source/etcd/loop.h"

namespace isthmus {

class PacedClient final : public EtcdClient {
 public:
  // `per_second`: pages a second, and the size of a burst; 0: no limit. `client` must outlive this object.
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
  [[nodiscard]] bool take_token();
  void start(Read& read);
  void start_waiting();

  EtcdClient& client_;
  const double per_second_;
  double tokens_;
  EtcdLoop::Clock::time_point filled_;
  std::list<Read*> waiting_;
  EtcdTimer timer_;
};

}  // namespace isthmus
