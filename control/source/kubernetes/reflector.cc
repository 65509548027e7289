#include "control/source/kubernetes/reflector.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace isthmus {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxListBytes = 512U << 20, kMaxErrorBytes = 64U << 10;
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
  return (version.find('/') == std::string::npos ? "/api/" : "/apis/") + version +
         (resource.ns.empty() ? "" : "/namespaces/" + resource.ns) + "/" + resource.plural;
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
  state.server = server_;
  if (!address_.empty()) {
    state.servers.push_back(address_);
  }
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
  // A right that names the one object covers lists and watches with this selector.
  const std::string only =
      resource_.name.empty() ? "" : "fieldSelector=" + percent_encoded("metadata.name=" + resource_.name) + "&";
  const std::string path = resource_path(resource_, resource_.versions[version_]) + "?" + only;
  if (phase_ == Phase::kList) {
    return path + (paging_ ? std::string("limit=") + kPageLimit : "") +
           (continue_.empty() ? "" : "&continue=" + percent_encoded(continue_));
  }
  std::uniform_int_distribution<std::int64_t> distribution(times_.watch_min.count(), times_.watch_max.count());
  const std::string seconds = std::to_string(std::max<std::int64_t>(1, distribution(random_) / 1000));
  const std::string common = path + "watch=true&allowWatchBookmarks=true&timeoutSeconds=" + seconds;
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
  received_ = false;
  started_at_ = std::chrono::steady_clock::now();
  ApiRequest request;
  request.target = target();
  request.idle = phase_ == Phase::kWatch ? times_.watch_idle : times_.list_idle;
  connection_.send(identity, std::move(request),
                   {[this](const ApiHead& head) { on_head(head); }, [this](std::string_view bytes) { on_body(bytes); },
                    [this](const ApiOutcome& end) { on_end(end); }});
}

void Reflector::on_head(const ApiHead& head) {
  status_ = head.status;
  if (std::string address = connection_.address(); !address.empty()) {
    address_ = std::move(address);
  }
  retry_after_ = head.retry_after;
  if (status_ != kOk) {
    return;
  }
  unauthorized_ = 0;
  versions_tried_ = 0;
  forbidden_ = false;
  if (phase_ != Phase::kWatch && continue_.empty()) {
    sync_ = synced_ ? sync_ : HubState::Sync::kListing;
    sink_.list_begins(index_);
  } else if (phase_ == Phase::kWatch) {
    sync_ = HubState::Sync::kSynced;
    sink_.resumed(index_);
  }
  sink_.flush();
}

void Reflector::on_body(std::string_view bytes) {
  if (status_ != kOk || phase_ == Phase::kList) {
    body_.append(
        bytes.substr(0, status_ == kOk ? bytes.size() : kMaxErrorBytes - std::min(kMaxErrorBytes, body_.size())));
    if (body_.size() > kMaxListBytes) {
      fail("the list is larger than 512 MiB");
    }
    return;
  }
  const auto before = last_event_;
  bool stopped = false;
  const bool valid = frames_.push(bytes, [&](std::string_view frame) {
    stopped = !on_event(frame);
    return !stopped;
  });
  if (!valid && !stopped) {
    resource_version_.clear();
    fail("the watch sent something that is not an event");
  } else if (!stopped && phase_ == Phase::kStreamList &&
             std::chrono::steady_clock::now() - started_at_ > times_.stream_list) {
    fail("the streamed list did not finish in time", milliseconds(0));
  } else if (before != last_event_ && phase_ == Phase::kWatch) {
    sink_.flush();
  }
}

// False when the connection was closed and the rest of the stream is to be ignored.
bool Reflector::on_event(std::string_view frame) {
  auto read = read_watch_event(frame);
  if (!read) {
    resource_version_.clear();
    fail(read.error().what);
    return false;
  }
  const WatchEvent& event = *read;
  last_event_ = std::chrono::steady_clock::now();
  received_ = true;
  switch (event.type) {
    case WatchEvent::Type::kBookmark:
      return on_bookmark(event);
    case WatchEvent::Type::kError:
      if (event.code == kGone) {
        on_expired(event.message);
      } else {
        // A server that cannot stream lists may report it only here; the next attempt lists in pages.
        fail("the watch ended with " + std::to_string(event.code) + ": " + event.message,
             phase_ == Phase::kStreamList ? milliseconds(0) : backoff());
      }
      return false;
    case WatchEvent::Type::kAdded:
    case WatchEvent::Type::kModified:
      sink_.put(index_, resource_.versions[version_], event.object);
      break;
    case WatchEvent::Type::kDeleted:
      sink_.removed(index_, event.object);
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
  if (phase_ == Phase::kStreamList && event.initial_events_end) {
    phase_ = Phase::kWatch;
    resource_version_ = event.resource_version;
    connection_.set_idle(times_.watch_idle);
    on_list_end();
  } else if (phase_ == Phase::kWatch) {
    resource_version_ = event.resource_version;
  }
  return true;
}

void Reflector::on_list_end() {
  synced_ = true;
  sync_ = HubState::Sync::kSynced;
  last_event_ = std::chrono::steady_clock::now();
  stream_next_ = true;
  paging_ = true;
  pages_expired_ = 0;
  continue_.clear();
  sink_.list_ends(index_);
  sink_.flush();
}

void Reflector::on_end(const ApiOutcome& end) {
  if (status_ == 0) {
    fail(end.error);
  } else if (status_ != kOk) {
    on_error_status();
  } else if (phase_ != Phase::kList) {
    on_watch_end(end);
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
    sink_.put(index_, resource_.versions[version_], object);
  }
  last_event_ = std::chrono::steady_clock::now();
  continue_ = page->next;
  if (continue_.empty()) {
    resource_version_ = page->resource_version;
    on_list_end();
  }
  request();
}

// Watches end regularly; only those that end soon after their start are retried with a backoff.
void Reflector::on_watch_end(const ApiOutcome& end) {
  const bool stable = received_ || std::chrono::steady_clock::now() - started_at_ >= times_.stable;
  if (phase_ == Phase::kStreamList) {
    fail(end.complete ? "the streamed list was cut off" : end.error, stable ? milliseconds(0) : backoff());
    return;
  }
  if (stable) {
    backoff_ = times_.backoff_first;
    expirations_ = 0;
  }
  if (end.complete && stable) {
    request();
  } else if (end.timed_out) {
    fail("no event or bookmark was received in time; reconnecting", milliseconds(0));
  } else {
    fail(end.complete ? "the watch ended right after it started" : end.error, stable ? milliseconds(0) : backoff());
  }
}

void Reflector::on_expired(const std::string& why) {
  const bool first = expirations_++ == 0;
  // Where pages expire before the last one is read, they are read once more, then the list without pages.
  paging_ = paging_ && (continue_.empty() || pages_expired_++ == 0);
  resource_version_.clear();
  continue_.clear();
  fail("the resource version has expired (410): " + why, first ? milliseconds(0) : backoff());
}

void Reflector::on_error_status() {
  const std::string why = "HTTP " + std::to_string(status_) + ": " + status_message(body_);
  switch (status_) {
    case kUnauthorized:
      credentials_.on_unauthorized(identity_);
      fail(why, unauthorized_++ == 0 ? milliseconds(0) : backoff());
      return;
    case kGone:
      on_expired(status_message(body_));
      return;
    case kForbidden:
    case kNotFound:
      on_unavailable(why);
      return;
    case kBadRequest:
    case kUnprocessable:
      if (phase_ == Phase::kStreamList) {
        streaming_ = false;  // a server before 1.30, or with streamed lists disabled
        request_after(milliseconds(0));
        return;
      }
      resource_version_.clear();
      continue_.clear();
      break;
    default:
      break;
  }
  const milliseconds pause = backoff();
  fail(why, retry_after_ && retry_after_->count() > 0 ? milliseconds(*retry_after_) : pause);
}

void Reflector::on_unavailable(const std::string& why) {
  if (status_ != kForbidden || resource_.versions.size() > 1) {
    resource_version_.clear();
  }
  continue_.clear();
  version_ = (version_ + 1) % resource_.versions.size();
  forbidden_ = forbidden_ || status_ == kForbidden;
  if (++versions_tried_ < resource_.versions.size()) {
    request_after(milliseconds(0));
    return;
  }
  versions_tried_ = 0;
  const unsigned status = std::exchange(forbidden_, false) ? unsigned{kForbidden} : status_;
  sink_.unavailable(index_, status);
  // A right may be missing for a moment only, while an API server starts or a binding is replaced.
  fail(why, status == kForbidden ? std::min(backoff(), times_.unavailable) : times_.unavailable,
       HubState::Sync::kFailed);
}

void Reflector::fail(std::string why, milliseconds pause, HubState::Sync unsynced) {
  last_error_ = std::move(why);
  sync_ = synced_ ? HubState::Sync::kStale : unsynced;
  stream_next_ =
      stream_next_ && (status_ == 0 || phase_ != Phase::kStreamList);  // failed after a response: list in pages next
  request_after(pause);
  sink_.flush();
}

void Reflector::request_after(milliseconds pause) {
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
  backoff_ = std::min(backoff_ * 2, times_.backoff_max);
  return base + milliseconds(std::uniform_int_distribution<std::int64_t>(0, base.count())(random_));
}

}  // namespace isthmus
