#include "control/source/etcd/registration.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include "config/files/read_file.h"
#include "control/source/etcd/client.h"
#include "control/source/etcd/client_config.h"
#include "control/source/etcd/loop.h"
#include "control/source/etcd/resources.h"

namespace isthmus {

class EtcdRegistration::Impl {
 public:
  explicit Impl(EtcdRegistrationOptions options)
      : options_(std::move(options)),
        key_(key_prefix(EtcdResource::kGateways, EtcdLayout::kState, options_.cluster) + options_.gateway.name),
        timer_(loop_) {}
  ~Impl() {
    if (thread_.joinable()) {
      loop_.stop();
      thread_.join();
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void start() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] {
      connect();
      loop_.run([] {});
      disconnect();
    });
    pthread_setname_np(thread_.native_handle(), "ist-etcd-reg");
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  [[nodiscard]] bool registered() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return registered_;
  }
  [[nodiscard]] std::string last_error() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return error_;
  }
  [[nodiscard]] const std::string& key() const { return key_; }

 private:
  void disconnect() {
    call_.reset();
    timer_.cancel();
    client_.reset();
  }

  void connect() {
    const Result<std::string> text = read_file(options_.config_file, kMaxConfigBytes);
    if (!text) {
      retry_later(text.error().text());
      return;
    }
    const Result<EtcdClientConfig> config = parse_etcd_client_config(*text, options_.config_file);
    if (!config) {
      retry_later(config.error().text());
      return;
    }
    const std::string endpoint = config->endpoints[attempts_++ % config->endpoints.size()];
    const bool plaintext = config->insecure_transport || endpoint.starts_with("http://");
    EtcdCertificates certificates;
    if (!plaintext) {
      const Result<EtcdCertificates> read = read_certificates(*config);
      if (!read) {
        retry_later(read.error().text());
        return;
      }
      certificates = *read;
    }
    EtcdClientOptions client;
    client.endpoint = endpoint;
    client.plaintext = plaintext;
    client.skip_verify = config->insecure_skip_tls_verify;
    client.ca = certificates.ca;
    client.certificate = certificates.certificate;
    client.key = certificates.key;
    client.call_timeout = options_.call_timeout;
    client_ = connect_etcd(loop_, client);
    grant();
  }

  void grant() {
    call_ = client_->grant(
        options_.ttl, [this](std::int64_t lease, std::chrono::seconds) { put(lease); },
        [this](const EtcdFailure& failure) { retry_later(failure.text); });
  }

  void put(std::int64_t lease) {
    lease_ = lease;
    call_ = client_->put(
        key_, encode_gateway(options_.cluster, options_.gateway), lease_,
        [this](const EtcdHeader&) {
          failures_ = 0;
          report(true, "");
          renew_later();
        },
        [this](const EtcdFailure& failure) { retry_later(failure.text); });
  }

  void renew_later() {
    timer_.set(std::chrono::duration_cast<std::chrono::milliseconds>(options_.ttl) / 3, [this] { renew(); });
  }

  void renew() {
    call_ = client_->keep_alive(
        lease_,
        [this](std::int64_t, std::chrono::seconds ttl) {
          call_.reset();
          if (ttl.count() > 0) {
            renew_later();
          } else {
            report(false, "the lease of the registration has expired");
            grant();
          }
        },
        [this](const EtcdFailure& failure) { retry_later(failure.text); });
  }

  // Disconnects, and starts over after the back-off.
  void retry_later(const std::string& why) {
    disconnect();
    report(false, why);
    const auto wait = std::min(options_.backoff_step * ++failures_, options_.max_backoff);
    timer_.set(wait, [this] { connect(); });
  }

  void report(bool registered, const std::string& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error.empty() && error != error_) {
      spdlog::warn("gateway registration {} failed: {}", key_, error);
    }
    registered_ = registered;
    error_ = error;
  }

  EtcdRegistrationOptions options_;
  std::string key_;
  EtcdLoop loop_;
  EtcdTimer timer_;
  std::unique_ptr<EtcdClient> client_;
  EtcdCallHandle call_;
  std::int64_t lease_ = 0;
  std::size_t attempts_ = 0;
  unsigned failures_ = 0;
  mutable std::mutex mutex_;  // guards registered_ and error_
  bool registered_ = false;
  std::string error_;
  std::thread thread_;
};

EtcdRegistration::EtcdRegistration(EtcdRegistrationOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

EtcdRegistration::~EtcdRegistration() = default;

void EtcdRegistration::start() { impl_->start(); }
bool EtcdRegistration::registered() const { return impl_->registered(); }
std::string EtcdRegistration::last_error() const { return impl_->last_error(); }
const std::string& EtcdRegistration::key() const { return impl_->key(); }

}  // namespace isthmus
