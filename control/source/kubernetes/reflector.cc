#include "control/source/kubernetes/reflector.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace isthmus {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLongestList = 512U << 20, kLongestRefusal = 64U << 10;
constexpr auto kPageLimit = "500";

enum HttpStatus : unsigned {
  kOk = 200,
  kBadRequest = 400,
  kUnauthorized = 401,
  kForbidden = 403,
  kNotFound = 404,
  kGone = 410,
  kUnprocessable = 422,
};

}  // namespace

struct Reflector::Timer {
  explicit Timer(boost::asio::io_context& io) : timer(io) {}
  boost::asio::steady_timer timer;
};

std::string resource_path(const ApiResource& resource, const std::string& version) {
  return (version.find('/') == std::string::npos ? "/api/" : "/apis/") + version + "/" + resource.plural;
}

Reflector::Reflector(boost::asio::io_context& io, const ApiAccess& access, Credentials& credentials,
                     const ApiTimes& times, const ApiResource& resource, std::size_t index, bool streaming,
                     ReflectorSink& sink)
    : times_(times),
      credentials_(credentials),
      resource_(resource),
      index_(index),
      sink_(sink),
      server_(access.server),
      connection_(io, access, times),
      timer_(std::make_unique<Timer>(io)),
      streaming_(streaming),
      backoff_(times.backoff_first) {}

Reflector::~Reflector() { connection_.close(); }

HubState Reflector::state() const {
  HubState state;
  state.name = resource_.shown_name();
  state.place = server_;
  state.sync = sync_;
  state.events = events_;
  state.connects = connection_.connects();
  state.last_event = last_event_;
  state.last_error = last_error_;
  return state;
}

void Reflector::request() {
  credentials_.get([this](Result<Credentials::Identity> identity) {
    if (!identity) {
      fail(identity.error().text());
    } else {
      send(*identity);
    }
  });
}

std::string Reflector::target() {
  const std::string path = resource_path(resource_, resource_.versions[version_]);
  if (phase_ == Phase::kList) {
    return path + (paging_ ? std::string("?limit=") + kPageLimit : "") +
           (continue_.empty() ? "" : "&continue=" + percent_encoded(continue_));
  }
  std::uniform_int_distribution<std::int64_t> draw(times_.watch_least.count(), times_.watch_most.count());
  const std::string seconds = std::to_string(std::max<std::int64_t>(1, draw(random_) / 1000));
  const std::string common = path + "?watch=true&allowWatchBookmarks=true&timeoutSeconds=" + seconds;
  return common + (phase_ == Phase::kStreamList ? "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                                                : "&resourceVersion=" + percent_encoded(resource_version_));
}

void Reflector::send(const Credentials::Identity& identity) {
  if (!resource_version_.empty()) {
    phase_ = Phase::kWatch;
  } else {
    phase_ = streaming_ && stream_next_ && continue_.empty() ? Phase::kStreamList : Phase::kList;
  }
  identity_ = identity;
  status_ = 0;
  retry_after_.reset();
  body_.clear();
  frames_ = JsonFrames();
  heard_ = false;
  begun_ = std::chrono::steady_clock::now();
  connection_.get(identity, {target(), phase_ == Phase::kWatch ? times_.watch_idle : times_.list_idle},
                  {[this](const ApiHead& head) { on_head(head); }, [this](std::string_view bytes) { on_body(bytes); },
                   [this](const ApiEnd& end) { on_end(end); }});
}

void Reflector::on_head(const ApiHead& head) {
  status_ = head.status;
  retry_after_ = head.retry_after;
  if (status_ != kOk) {
    return;
  }
  unauthorized_ = 0;
  versions_missing_ = 0;
  if (phase_ != Phase::kWatch && continue_.empty()) {
    sync_ = synced_ ? sync_ : HubState::Sync::kListing;
    sink_.list_begins(index_);
  } else if (phase_ == Phase::kWatch) {
    sync_ = HubState::Sync::kSynced;
  }
  sink_.flush();
}

void Reflector::on_body(std::string_view bytes) {
  if (status_ != kOk || phase_ == Phase::kList) {
    body_.append(
        bytes.substr(0, status_ == kOk ? bytes.size() : kLongestRefusal - std::min(kLongestRefusal, body_.size())));
    if (body_.size() > kLongestList) {
      fail("the list is longer than can be read");
    }
    return;
  }
  const auto before = last_event_;
  bool stopped = false;
  const bool good = frames_.push(bytes, [&](std::string_view frame) {
    stopped = !on_event(frame);
    return !stopped;
  });
  if (!good && !stopped) {
    resource_version_.clear();
    fail("the watch sent something that is no event");
  } else if (!stopped && phase_ == Phase::kStreamList &&
             std::chrono::steady_clock::now() - begun_ > times_.stream_list) {
    fail("the streamed list did not end", milliseconds(0));
  } else if (before != last_event_ && phase_ == Phase::kWatch) {
    sink_.flush();
  }
}

// False when the rest of the stream is not wanted: the connection was dropped.
bool Reflector::on_event(std::string_view frame) {
  auto read = read_watch_event(frame);
  if (!read) {
    resource_version_.clear();
    fail(read.error().what);
    return false;
  }
  const WatchEvent& event = *read;
  last_event_ = std::chrono::steady_clock::now();
  heard_ = true;
  switch (event.type) {
    case WatchEvent::Type::kBookmark:
      return on_bookmark(event);
    case WatchEvent::Type::kError:
      if (event.code == kGone) {
        expired(event.message);
      } else {
        // In a streamed list: a server that lacks what it takes says so only here. Pages do without.
        fail("the watch ended with " + std::to_string(event.code) + ": " + event.message,
             phase_ == Phase::kStreamList ? milliseconds(0) : backoff());
      }
      return false;
    case WatchEvent::Type::kAdded:
    case WatchEvent::Type::kModified:
      sink_.object_is(index_, resource_.versions[version_], event.object);
      break;
    case WatchEvent::Type::kDeleted:
      sink_.object_gone(index_, event.object);
      break;
  }
  ++events_;
  if (phase_ == Phase::kWatch && !event.resource_version.empty()) {
    resource_version_ = event.resource_version;
  }
  return true;
}

bool Reflector::on_bookmark(const WatchEvent& event) {
  if (event.resource_version.empty()) {
    return true;
  }
  if (phase_ == Phase::kStreamList && event.initial_end) {
    phase_ = Phase::kWatch;
    resource_version_ = event.resource_version;
    connection_.set_idle(times_.watch_idle);
    list_done();
  } else if (phase_ == Phase::kWatch) {
    resource_version_ = event.resource_version;
  }
  return true;
}

void Reflector::list_done() {
  synced_ = true;
  sync_ = HubState::Sync::kSynced;
  last_event_ = std::chrono::steady_clock::now();
  stream_next_ = true;
  paging_ = true;
  continue_.clear();
  sink_.list_ends(index_);
  sink_.flush();
}

void Reflector::on_end(const ApiEnd& end) {
  if (status_ == 0) {
    fail(end.error);
  } else if (status_ != kOk) {
    on_refusal();
  } else if (phase_ != Phase::kList) {
    watch_ended(end);
  } else if (!end.complete) {
    fail(end.error);
  } else {
    on_page();
  }
}

void Reflector::on_page() {
  auto page = read_list_page(body_);
  body_ = {};
  if (!page) {
    continue_.clear();
    fail(page.error().what);
    return;
  }
  for (const YamlNode& object : page->items()) {
    sink_.object_is(index_, resource_.versions[version_], object);
  }
  last_event_ = std::chrono::steady_clock::now();
  continue_ = page->next;
  if (continue_.empty()) {
    resource_version_ = page->resource_version;
    list_done();
  }
  request();
}

// Ends of watches are ordinary; only those that come at once are slowed down.
void Reflector::watch_ended(const ApiEnd& end) {
  const bool steady = heard_ || std::chrono::steady_clock::now() - begun_ >= times_.steady;
  if (phase_ == Phase::kStreamList) {
    fail(end.complete ? "the streamed list broke off" : end.error, steady ? milliseconds(0) : backoff());
    return;
  }
  if (steady) {
    backoff_ = times_.backoff_first;
    expirations_ = 0;
  }
  if (end.complete && steady) {
    request();
  } else if (end.timed_out) {
    fail("neither event nor bookmark came; taken for a broken connection", milliseconds(0));
  } else {
    fail(end.complete ? "the watch ended at once" : end.error, steady ? milliseconds(0) : backoff());
  }
}

void Reflector::expired(const std::string& why) {
  const bool first = expirations_++ == 0;
  paging_ = paging_ && continue_.empty();  // pages that expire before the last one are asked for as one
  resource_version_.clear();
  continue_.clear();
  fail("the server no longer knows the place (410): " + why, first ? milliseconds(0) : backoff());
}

void Reflector::on_refusal() {
  const std::string why = "HTTP " + std::to_string(status_) + ": " + status_message(body_);
  switch (status_) {
    case kUnauthorized:
      credentials_.refused(identity_);
      fail(why, unauthorized_++ == 0 ? milliseconds(0) : backoff());
      return;
    case kGone:
      expired(status_message(body_));
      return;
    case kForbidden:
    case kNotFound:
      on_not_served(why);
      return;
    case kBadRequest:
    case kUnprocessable:
      if (phase_ == Phase::kStreamList) {
        streaming_ = false;  // a server of before 1.30, or one that has it turned off
        again(milliseconds(0));
        return;
      }
      resource_version_.clear();
      continue_.clear();
      break;
    default:
      break;
  }
  const milliseconds own = backoff();
  fail(why, retry_after_ && retry_after_->count() > 0 ? milliseconds(*retry_after_) : own);
}

void Reflector::on_not_served(const std::string& why) {
  resource_version_.clear();
  continue_.clear();
  version_ = (version_ + 1) % resource_.versions.size();
  if (++versions_missing_ < resource_.versions.size()) {
    again(milliseconds(0));
    return;
  }
  versions_missing_ = 0;
  sink_.unavailable(index_, status_);
  fail(why, times_.refused, HubState::Sync::kFailed);
}

void Reflector::fail(std::string why, milliseconds pause, HubState::Sync unsynced) {
  last_error_ = std::move(why);
  sync_ = synced_ ? HubState::Sync::kStale : unsynced;
  stream_next_ = stream_next_ && (status_ == 0 || phase_ != Phase::kStreamList);  // after an answer: pages, this time
  again(pause);
  sink_.flush();
}

void Reflector::again(milliseconds pause) {
  if (status_ == 0 || status_ == kOk) {
    connection_.close();
  }
  timer_->timer.expires_after(pause);
  timer_->timer.async_wait([this](boost::system::error_code stopped) {
    if (!stopped) {
      request();
    }
  });
}

milliseconds Reflector::backoff() {
  const milliseconds base = backoff_;
  backoff_ = std::min(backoff_ * 2, times_.backoff_most);
  return base + milliseconds(std::uniform_int_distribution<std::int64_t>(0, base.count())(random_));
}

}  // namespace isthmus
