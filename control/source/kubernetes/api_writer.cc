#include "control/source/kubernetes/api_writer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "config/yaml/json.h"
#include "control/source/kubernetes/api_text.h"

namespace isthmus {
namespace {

using std::chrono::milliseconds;

constexpr auto kPace = milliseconds(200);  // between two requests: as a client of client-go has it
constexpr auto kConflict = milliseconds(3000);
constexpr unsigned kAccident = 2;  // so many answers with 5xx about an object are no problem to list
constexpr std::size_t kMaxBody = 4U << 20;

bool contains(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

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
  const bool exists = status_ == 409 && write_->what == ApiWrite::What::kEvent;  // another gateway has written it
  if (status_ == 0 || status_ == 429 || status_ >= 500) {
    if (status_ >= 500) {
      // It may be of this object: others have their turn, after a pause of at most twice backoff_max.
      reports_.postpone(*write_, now + 3 * times_.backoff_max + retry_after_.value_or(std::chrono::seconds(0)));
      on_failure("see the API server's log; an admission webhook that does not answer has this effect");
    }
    write_.reset();
    back_off();
    return;
  }
  if (status_ / 100 == 2 || exists) {
    missing_.erase(write_->right);
    failed_.erase(write_->location);
    backoff_ = times_.backoff_first;
    const auto parsed = parse_json(end.complete && !exists ? std::string_view(body_) : std::string_view("{}"));
    reports_.written(*write_, std::get_if<YamlNode>(&parsed), now);
  } else if (status_ == 401) {
    credentials_.on_unauthorized(identity_);
    write_.reset();
    back_off();
    return;
  } else if (status_ == 409) {
    reports_.postpone(*write_, now + kConflict);
  } else {
    on_refusal(now);
  }
  write_.reset();
  rest(kPace);
}

void ApiWriter::on_refusal(std::chrono::steady_clock::time_point now) {
  const std::string said = status_message(body_);
  // An Event is refused, too, by what decides after the rights: in a namespace that is being deleted.
  const bool no_right = status_ == 403 && (write_->what != ApiWrite::What::kEvent || contains(said, " cannot "));
  if (status_ == 403 && !no_right) {
    reports_.refuse(*write_, now + times_.unavailable);
  } else if (no_right) {
    missing_[write_->right] = said;
    reports_.refuse(*write_, now + times_.unavailable);
  } else if (status_ == 404 && write_->what == ApiWrite::What::kEvent) {
    reports_.refuse(*write_, now + times_.unavailable);  // no such API, or a namespace that is being deleted
  } else {
    on_failure("install the custom resource definitions of this version");
    reports_.postpone(*write_, now + times_.unavailable);
  }
}

void ApiWriter::on_failure(const char* fix) {
  std::erase_if(failed_, [this](const auto& each) { return !reports_.has(each.first); });
  Failure& failure = failed_[write_->location];
  failure.said = "HTTP " + std::to_string(status_) + ": " + status_message(body_);
  failure.fix = fix;
  ++failure.times;
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

std::vector<SourceProblem> ApiWriter::problems() const {
  std::vector<SourceProblem> problems;
  for (const auto& [right, said] : missing_) {
    const bool events = right.find("events") != std::string::npos;
    problems.push_back({{access_.server, 0},
                        (events ? "Events about policies" : "what this gateway makes of objects") +
                            std::string(" cannot be written: ") + said,
                        "grant " + right + " in a ClusterRole",
                        std::nullopt});
  }
  for (const auto& [location, failure] : failed_) {
    if (!reports_.has(location) || (failure.times <= kAccident && failure.said.starts_with("HTTP 5"))) {
      continue;  // deleted since then, or it may pass
    }
    problems.push_back(
        {{location, 0}, "what this gateway makes of it cannot be written: " + failure.said, failure.fix, std::nullopt});
  }
  return problems;
}

}  // namespace isthmus
