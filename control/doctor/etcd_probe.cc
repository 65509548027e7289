#include <chrono>
#include <utility>

#include "config/files/read_file.h"
#include "control/doctor/certificates.h"
#include "control/doctor/probe_kinds.h"
#include "control/source/etcd/client.h"
#include "control/source/etcd/client_config.h"
#include "control/source/etcd/loop.h"
#include "control/source/etcd/resources.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kEtcdTime{4000};

struct EtcdAnswer {
  std::optional<EtcdFailure> failure;
  bool answered = false, found = false;
};

// Whether the server lets us read `key`.
EtcdAnswer read_key(const EtcdClientOptions& options, const std::string& key) {
  EtcdAnswer answer;
  EtcdLoop loop;
  {
    EtcdTimer timer(loop);
    const auto client = connect_etcd(loop, options);
    const EtcdCallHandle call = client->range(
        {key, ""}, 1, 0,
        [&](const EtcdRangeReply& reply) {
          answer.answered = true;
          answer.found = !reply.kvs.empty();
          loop.stop();
        },
        [&](const EtcdFailure& failure) {
          answer.failure = failure;
          loop.stop();
        });
    timer.set(kEtcdTime, [&loop] { loop.stop(); });
    loop.run([] {});
  }
  return answer;
}

void read_certificate_files(const EtcdClientConfig& config, HubFacts& facts) {
  const auto text = [](const std::string& path) {
    auto read = path.empty() ? Result<std::string>(std::string()) : read_file(path, kMaxCredentialBytes);
    return read ? *read : std::string();
  };
  if (const std::string ca = text(config.trusted_ca_file); !ca.empty()) {
    facts.certificates.push_back(read_certificate("authority " + config.trusted_ca_file, ca));
  }
  if (const std::string own = text(config.cert_file); !own.empty()) {
    facts.certificates.push_back(read_certificate("certificate " + config.cert_file, own, text(config.key_file)));
  }
}

std::string fix_of(const EtcdFailure& failure) {
  switch (failure.kind) {
    case EtcdFailure::Kind::kUnauthenticated:
      return "use a certificate of a user that this etcd has";
    case EtcdFailure::Kind::kDenied:
      return "give its user the role that Cilium's agents have (remote)";
    default:
      return "see whether this machine reaches it, and whether both ends have certificates of one authority";
  }
}

}  // namespace

HubFacts ask_etcd(HubFacts facts, const std::string& path, const EtcdQuestion& question) {
  const std::string& cluster = question.cluster;
  const auto text = read_file(path, kMaxConfigBytes);
  if (!text) {
    facts.error = text.error();
    return facts;
  }
  const auto config = parse_etcd_client_config(*text, path);
  if (!config) {
    facts.error = config.error();
    return facts;
  }
  read_certificate_files(*config, facts);
  for (const std::string& endpoint : config->endpoints) {
    facts.where = endpoint;
    const bool plaintext = config->insecure_transport || endpoint.starts_with("http://");
    const auto certificates = plaintext ? Result<EtcdCertificates>(EtcdCertificates{}) : read_certificates(*config);
    if (!certificates) {
      facts.error = certificates.error();
      facts.error->what = facts.error->where + ": " + facts.error->what;
      return facts;
    }
    EtcdClientOptions options{
        endpoint,         plaintext, config->insecure_skip_tls_verify, certificates->ca, certificates->certificate,
        certificates->key};
    options.call_timeout = kEtcdTime;
    const EtcdAnswer answer = read_key(
        options, cluster.empty() ? std::string(kHeartbeatPrefix) : std::string(kClusterConfigPrefix) + cluster);
    if (answer.answered) {
      facts.error.reset();
      facts.said = cluster.empty() || answer.found ? "answers" : "answers, and has no configuration of " + cluster;
      return facts;
    }
    const EtcdFailure failure =
        answer.failure.value_or(EtcdFailure{EtcdFailure::Kind::kConnection, "no answer within 4 s"});
    if (question.registration && failure.kind == EtcdFailure::Kind::kDenied) {
      facts.error.reset();
      facts.said = "answers; whether this gateway may write there, it learns when it registers";
      return facts;
    }
    facts.denied = failure.kind == EtcdFailure::Kind::kDenied;
    facts.error = Error{failure.text, endpoint, fix_of(failure)};
  }
  return facts;
}

}  // namespace isthmus
