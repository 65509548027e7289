#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/files/read_file.h"
#include "control/doctor/certificates.h"
#include "control/doctor/probe_kinds.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/api_connection.h"
#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/times.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kServerTime{6000};
constexpr std::size_t kMostAnswer = 65'536;
constexpr unsigned kUnauthorized = 401, kForbidden = 403, kNotFound = 404, kBadRequest = 400;

struct ServerAnswer {
  unsigned status = 0;
  std::string body, error;
};

ApiTimes probe_times() {
  ApiTimes times;
  times.connect = times.response = times.exec = std::chrono::milliseconds(4000);
  return times;
}

// One request on a loop of its own.
class ServerProbe {
 public:
  explicit ServerProbe(const ApiAccess& access) : credentials_(io_, access, times_), connection_(io_, access, times_) {}

  [[nodiscard]] ServerAnswer get(const std::string& target) {
    answer_ = {};
    boost::asio::steady_timer deadline(io_, kServerTime);
    deadline.async_wait([this](const boost::system::error_code& error) {
      if (!error) {
        answer_.error = "no answer within 6 s";
        connection_.close();
        io_.stop();
      }
    });
    credentials_.get([&](Result<Credentials::Identity> identity) {
      if (!identity) {
        answer_.error = identity.error().text();
        io_.stop();
        return;
      }
      connection_.send(*identity, {target, kServerTime},
                       {[this](const ApiHead& head) { answer_.status = head.status; },
                        [this](std::string_view piece) {
                          answer_.body += piece.substr(0, kMostAnswer - std::min(kMostAnswer, answer_.body.size()));
                        },
                        [this](const ApiOutcome& outcome) {
                          answer_.error = outcome.complete ? "" : outcome.error;
                          io_.stop();
                        }});
    });
    if (answer_.error.empty()) {
      io_.restart();
      io_.run();
    }
    return answer_;
  }

 private:
  boost::asio::io_context io_;
  const ApiTimes times_ = probe_times();
  Credentials credentials_;
  ApiConnection connection_;
  ServerAnswer answer_;
};

std::string pem_text(const PemSource& source) {
  if (!source.data.empty() || source.file.empty()) {
    return source.data;
  }
  const auto text = read_file(source.file, kMaxCredentialBytes);
  return text ? *text : std::string();
}

void add_certificates(const ApiAccess& access, const std::string& file, HubFacts& facts) {
  const auto name = [&](const PemSource& source) { return source.data.empty() ? source.file : "in " + file; };
  if (const std::string ca = pem_text(access.ca); !ca.empty()) {
    facts.certificates.push_back(read_certificate("authority " + name(access.ca), ca));
  }
  if (const std::string own = pem_text(access.client_certificate); !own.empty()) {
    facts.certificates.push_back(
        read_certificate("certificate " + name(access.client_certificate), own, pem_text(access.client_key)));
  }
}

std::string version_of(const std::string& body) {
  const auto tree = nlohmann::json::parse(body, nullptr, false);
  return tree.is_object() && tree.contains("gitVersion") && tree["gitVersion"].is_string()
             ? "version " + tree["gitVersion"].get<std::string>()
             : "answers";
}

}  // namespace

HubFacts ask_api_server(HubFacts facts, const std::string& access_text, bool of_cluster) {
  const auto access = access_text == "in-cluster" ? in_cluster_access() : load_kubeconfig(access_text, "");
  if (!access) {
    facts.error = access.error();
    return facts;
  }
  facts.where = access->server;
  add_certificates(*access, access_text, facts);
  ServerProbe probe(*access);
  ServerAnswer answer = probe.get("/version");
  if (!answer.error.empty()) {
    facts.error =
        Error{answer.error, facts.where, "see whether this machine reaches it: curl -k " + facts.where + "/version"};
    return facts;
  }
  const std::string version = version_of(answer.body);
  if (of_cluster && (answer.status < kBadRequest || answer.status == kNotFound)) {
    answer = probe.get("/api/v1/pods?limit=1");
    if (!answer.error.empty()) {
      facts.error = Error{answer.error, facts.where, "see to the API server: it answers /version, and no list"};
      return facts;
    }
  }
  if (answer.status == kUnauthorized) {
    facts.error = Error{"401: it does not accept the credentials of " + access_text, facts.where,
                        "renew them: kubectl --kubeconfig FILE auth whoami"};
  } else if (answer.status == kForbidden) {
    facts.denied = true;
    facts.error = Error{"403: the user of " + access_text + " may not list pods", facts.where,
                        "give it get, list and watch of what control/source/README.md names"};
  } else if (answer.status >= kBadRequest) {
    facts.error =
        Error{"it answers with status " + std::to_string(answer.status), facts.where, "see to the API server"};
  }
  facts.said = version;
  return facts;
}

}  // namespace isthmus
