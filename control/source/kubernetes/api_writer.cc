#include "control/source/kubernetes/api_writer.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include "config/yaml/json.h"
#include "control/source/kubernetes/api_text.h"

namespace isthmus {
namespace {

using std::chrono::milliseconds;

constexpr auto kPace = milliseconds(200);  // between two requests: as a client of client-go has it
constexpr auto kConflict = milliseconds(3000);
constexpr unsigned kAccident = 2;    // so many accidents with an object are no problem to list
constexpr unsigned kLongest = 5;     // times the first postponement after an accident, at most
constexpr std::size_t kListed = 20;  // objects, by name
constexpr std::size_t kMaxBody = 4U << 20;

bool contains(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

// As an API server says of a user's rights, of whatever authorizer; admission has other words.
bool names_missing_right(const ApiWrite& write, std::string_view body) {
  return contains(body, write.what == ApiWrite::What::kEvent ? " cannot create resource" : " cannot patch resource");
}

std::string fix_of_refusal(const ApiWrite& write, unsigned status, std::string_view body) {
  const bool event = write.what == ApiWrite::What::kEvent;
  if (status == 403 || contains(body, " denied ")) {
    return std::string("let the API server's admission policies, webhooks and quotas pass what the gateway writes: ") +
           (event ? "Events of events.k8s.io" : "the status of isthmus.io objects");
  }
  return event ? "see the API server's log" : "install the custom resource definitions of this version";
}

}  // namespace

ApiWriter::ApiWriter(boost::asio::io_context& io, const ApiAccess& access, Credentials& credentials,
                     const ApiTimes& times, ObjectReports& reports)
    : access_(access),
      credentials_(credentials),
      times_(times),
      reports_(reports),
      connection_(io, access, times),
      timer_(io),
      backoff_(times.backoff_first) {}

void ApiWriter::kick() {
  std::erase_if(failures_, [this](const auto& each) { return !reports_.wants(each.first); });
  if (write_ || resting_) {
    return;
  }
  write_ = reports_.next(ObjectReports::Clock::now(), ObjectReports::WallClock::now());
  if (!write_) {
    return;
  }
  credentials_.get([this](Result<Credentials::Identity> identity) {
    if (identity) {
      send(*identity);
    } else {
      write_.reset();
      back_off();
    }
  });
}

void ApiWriter::send(const Credentials::Identity& identity) {
  identity_ = identity;
  status_ = 0;
  retry_after_.reset();
  body_.clear();
  ApiRequest request;
  request.target = write_->target;
  request.method = write_->method;
  request.content_type = write_->content_type;
  request.body = write_->body;
  request.idle = times_.list_idle;
  connection_.send(
      identity, std::move(request),
      {[this](const ApiHead& head) {
         status_ = head.status;
         retry_after_ = head.retry_after;
       },
       [this](std::string_view bytes) { body_.append(bytes.substr(0, kMaxBody - std::min(kMaxBody, body_.size()))); },
       [this](const ApiOutcome& end) { on_end(end); }});
}

void ApiWriter::on_end(const ApiOutcome& end) {
  const auto now = ObjectReports::Clock::now();
  const bool accident = status_ == 0 || status_ == 429 || status_ >= 500;
  if (accident) {
    on_accident(end, now);
  } else if (status_ == 401) {
    credentials_.on_unauthorized(identity_);
    reports_.postpone(*write_, now);
  } else if (status_ == 409 && write_->what != ApiWrite::What::kEvent) {
    reports_.postpone(*write_, now + kConflict);
  } else if (status_ / 100 == 2 || status_ == 409) {
    on_success(end, now);
  } else {
    on_refusal(now);
  }
  write_.reset();
  if (accident || status_ == 401) {
    back_off();
  } else {
    rest(kPace);
  }
}

void ApiWriter::on_success(const ApiOutcome& end, std::chrono::steady_clock::time_point now) {
  failures_.erase(write_->location);
  backoff_ = times_.backoff_first;
  if (status_ == 409) {
    reports_.exists(*write_, now);  // another gateway has written it
    return;
  }
  const auto parsed = parse_json(end.complete ? std::string_view(body_) : std::string_view("{}"));
  reports_.written(*write_, std::get_if<YamlNode>(&parsed), now);
}

// It may be of this object: others have their turn, after a pause of at most twice backoff_max.
void ApiWriter::on_accident(const ApiOutcome& end, std::chrono::steady_clock::time_point now) {
  if (status_ == 0 && connection_.address().empty()) {
    reports_.postpone(*write_, now);  // there is no connection, which says nothing of the object
    return;
  }
  Failure& failure = fail(status_ == 0 ? end.error : "HTTP " + std::to_string(status_) + ": " + status_message(body_),
                          "see the API server's log; an admission webhook that does not answer has this effect");
  failure.may_pass = true;
  const auto pause = 3 * times_.backoff_max * std::min(failure.times, kLongest);
  reports_.postpone(*write_, now + pause + retry_after_.value_or(std::chrono::seconds(0)));
}

void ApiWriter::on_refusal(std::chrono::steady_clock::time_point now) {
  const bool event = write_->what == ApiWrite::What::kEvent;
  if (event && (status_ == 404 || (status_ == 403 && contains(body_, "being terminated")))) {
    reports_.refuse(*write_, now + times_.unavailable);  // no such API, or a namespace that is being deleted
    return;
  }
  Failure& failure =
      fail("HTTP " + std::to_string(status_) + ": " + status_message(body_), fix_of_refusal(*write_, status_, body_));
  if (status_ == 403) {
    failure.right = names_missing_right(*write_, body_) ? write_->right : "";
    reports_.deny(*write_, now + times_.unavailable);
    return;
  }
  // An entry may have another place in the list by now.
  failure.may_pass = write_->what == ApiWrite::What::kRemoval && status_ == 422;
  const bool soon = failure.may_pass && failure.times <= kAccident;
  reports_.postpone(*write_, now + (soon ? kConflict : times_.unavailable));
}

ApiWriter::Failure& ApiWriter::fail(std::string said, std::string fix) {
  Failure& failure = failures_[write_->location];
  const bool event = write_->what == ApiWrite::What::kEvent;
  failure.about = (event ? "the Event about " : "what this gateway makes of ") + write_->about;
  failure.said = std::move(said);
  failure.fix = std::move(fix);
  failure.right.clear();
  failure.may_pass = false;
  ++failure.times;
  return failure;
}

void ApiWriter::back_off() {
  std::uniform_int_distribution<std::int64_t> jitter(0, backoff_.count());
  milliseconds pause = backoff_ + milliseconds(jitter(random_));
  backoff_ = std::min(backoff_ * 2, times_.backoff_max);
  if (retry_after_) {
    pause = std::max(pause, std::chrono::duration_cast<milliseconds>(*retry_after_));
  }
  rest(pause);
}

void ApiWriter::rest(milliseconds pause) {
  resting_ = true;
  timer_.expires_after(pause);
  timer_.async_wait([this](boost::system::error_code stopped) {
    if (!stopped) {
      resting_ = false;
      kick();
    }
  });
}

// All of them at the server: they say nothing of the objects, of which there is a report at their own places.
std::vector<SourceProblem> ApiWriter::problems() const {
  std::vector<SourceProblem> problems;
  std::set<std::string> rights;
  std::size_t more = 0;
  const auto add = [&](std::string what, std::string fix) {
    problems.push_back({{access_.server, 0}, std::move(what), std::move(fix), std::nullopt});
  };
  for (const auto& [location, failure] : failures_) {
    const bool right = !failure.right.empty();
    if ((failure.may_pass && failure.times <= kAccident) || (right && !rights.insert(failure.right).second)) {
      continue;
    }
    if (right) {
      const bool events = contains(failure.right, "events");
      add((events ? "Events about policies" : "what this gateway makes of objects") +
              std::string(" cannot be written: ") + failure.said,
          "grant " + failure.right + " in a ClusterRole");
    } else if (problems.size() - rights.size() < kListed) {
      add(failure.about + " cannot be written: " + failure.said, failure.fix);
    } else {
      ++more;
    }
  }
  if (more > 0) {
    add("nor can what it makes of " + std::to_string(more) + " further objects be written",
        "see the problems about writing before this one");
  }
  return problems;
}

}  // namespace isthmus
