#include "control/source/etcd/follower.h"

#include <algorithm>
#include <utility>

namespace isthmus {
namespace {

constexpr std::int64_t kPageGrowth = 4;

}  // namespace

bool EtcdPin::matches(const EtcdHeader& header) {
  if (!header.present || header.cluster_id == 0) {
    return false;
  }
  if (!pinned) {
    pinned = true;
    cluster_id = header.cluster_id;
  }
  return header.cluster_id == cluster_id;
}

EtcdFollower::EtcdFollower(EtcdLoop& loop, EtcdClient& client, EtcdPin& pin, const FollowerOptions& options,
                           EtcdRange range, std::size_t prefix_length, Handler& handler)
    : client_(client),
      pin_(pin),
      options_(options),
      range_(std::move(range)),
      prefix_length_(prefix_length),
      handler_(handler),
      timer_(loop),
      backoff_(options.first_backoff) {}

void EtcdFollower::start() { relist(); }

void EtcdFollower::relist() {
  listed_ = false;
  list_revision_ = next_ = 0;
  page_ = options_.page;
  list_page(range_.key);
}

void EtcdFollower::list_page(std::string from) {
  call_ = client_.range(
      {std::move(from), range_.end}, page_, list_revision_, [this](const EtcdRangeReply& reply) { on_page(reply); },
      [this](const EtcdFailure& failure) { on_list_failure(failure); });
}

void EtcdFollower::on_page(const EtcdRangeReply& reply) {
  if (!pin_.matches(reply.header)) {
    fail("another etcd answers now (its cluster id differs)");
    return;
  }
  handler_.reply_received();
  if (list_revision_ == 0) {
    list_revision_ = reply.header.revision;
    handler_.list_begins();
  }
  for (const EtcdKeyValue& kv : reply.kvs) {
    if (!lost_) {
      handler_.put(kv.key.substr(std::min(prefix_length_, kv.key.size())), kv.value);
    }
  }
  if (lost_) {
    return;
  }
  if (reply.more && !reply.kvs.empty()) {
    size_next_page(reply);
    list_page(std::string(reply.kvs.back().key) + '\0');
    return;
  }
  next_ = list_revision_ + 1;
  listed_ = true;
  handler_.list_ends();
  if (!lost_) {
    watch();
  }
}

void EtcdFollower::size_next_page(const EtcdRangeReply& reply) {
  std::size_t bytes = 0;
  for (const EtcdKeyValue& kv : reply.kvs) {
    bytes += kv.key.size() + kv.value.size();
  }
  const auto per_key = static_cast<std::int64_t>(bytes / reply.kvs.size()) + 1;
  page_ = std::max(options_.page, std::min(options_.page_bytes / per_key, kPageGrowth * page_));
}

void EtcdFollower::on_list_failure(const EtcdFailure& failure) {
  switch (failure.kind) {
    case EtcdFailure::Kind::kConnection:
    case EtcdFailure::Kind::kUnauthenticated:
      fail(failure.text, failure.kind);
      return;
    case EtcdFailure::Kind::kDenied:
    case EtcdFailure::Kind::kOther:
      handler_.range_failed(failure);
      break;
    case EtcdFailure::Kind::kCompacted:
      break;
  }
  relist_later();
}

void EtcdFollower::watch() {
  call_ = client_.watch(
      range_, next_, [this](const EtcdWatchReply& reply) { on_watch(reply); },
      [this](const EtcdFailure* failure) { on_watch_end(failure); });
}

void EtcdFollower::on_watch(const EtcdWatchReply& reply) {
  if (lost_) {
    return;
  }
  if (!pin_.matches(reply.header)) {
    fail("another etcd answers now (its cluster id differs)");
    return;
  }
  if (reply.canceled) {
    on_canceled(reply);
    return;
  }
  handler_.reply_received();
  if (reply.created) {
    if (reply.header.revision < next_ - 1) {
      // An etcd that was wiped and restarted may have the same cluster id.
      fail("the etcd lost its history (its revision went back)");
    }
    return;
  }
  for (const EtcdEvent& event : reply.events) {
    if (lost_) {
      return;
    }
    const std::string_view suffix = event.kv.key.substr(std::min(prefix_length_, event.kv.key.size()));
    next_ = std::max(next_, event.kv.mod_revision + 1);
    if (event.deleted) {
      handler_.removed(suffix);
    } else {
      handler_.put(suffix, event.kv.value);
    }
  }
  if (reply.events.empty()) {
    next_ = std::max(next_, reply.header.revision + 1);
  }
  backoff_ = options_.first_backoff;
}

void EtcdFollower::on_canceled(const EtcdWatchReply& reply) {
  call_.reset();
  listed_ = false;
  if (reply.compact_revision == 0 && reply.reason.find("permission denied") != std::string_view::npos) {
    handler_.range_failed({EtcdFailure::Kind::kDenied, std::string(reply.reason)});
    relist_later();
    return;
  }
  if (reply.compact_revision > 0) {
    handler_.reply_received();
  }
  relist_later();
}

void EtcdFollower::on_watch_end(const EtcdFailure* failure) {
  call_.reset();
  if (lost_) {
    return;
  }
  if (failure != nullptr && failure->kind != EtcdFailure::Kind::kDenied &&
      failure->kind != EtcdFailure::Kind::kCompacted && failure->kind != EtcdFailure::Kind::kOther) {
    fail(failure->text, failure->kind);
  } else if (failure != nullptr) {
    listed_ = false;
    if (failure->kind != EtcdFailure::Kind::kCompacted) {
      handler_.range_failed(*failure);
    }
    relist_later();
  } else if (!client_.connected()) {
    fail("the connection was lost");
  } else {
    timer_.set(options_.rewatch, [this] { watch(); });
  }
}

void EtcdFollower::relist_later() {
  call_.reset();
  timer_.set(backoff_, [this] { relist(); });
  backoff_ = std::min(2 * backoff_, options_.max_backoff);
}

void EtcdFollower::fail(const std::string& why, EtcdFailure::Kind kind) {
  lost_ = true;
  listed_ = false;
  call_.reset();
  timer_.cancel();
  handler_.connection_lost(why, kind);
}

}  // namespace isthmus
