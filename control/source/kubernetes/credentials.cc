#include "control/source/kubernetes/credentials.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "config/files/read_file.h"
#include "config/yaml/base64.h"

namespace isthmus {
namespace {

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? std::string() : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

Credentials::Credentials(boost::asio::io_context& io, const ApiAccess& access, const ApiTimes& times)
    : io_(io), access_(access), times_(times) {}

void Credentials::get(Done done) {
  if (!access_.exec || exec_valid()) {
    done(make_identity());
    return;
  }
  // Every watch asks: a program that has failed is not run again for each of them.
  if (failure_ && std::chrono::steady_clock::now() < failed_until_) {
    done(*failure_);
    return;
  }
  waiting_.push_back(std::move(done));
  if (!running_) {
    running_ = std::make_unique<ExecRun>(io_, *access_.exec, times_.exec,
                                         [this](Result<ExecCredential> result) { finish_exec(std::move(result)); });
  }
}

void Credentials::on_unauthorized(const Identity& identity) {
  if (identity != last_) {
    return;  // already replaced
  }
  last_ = nullptr;
  exec_.reset();
  for (auto& [path, file] : files_) {
    file.read_at = {};
  }
}

bool Credentials::exec_valid() const {
  if (!exec_) {
    return false;
  }
  const auto leeway = std::chrono::duration_cast<std::chrono::seconds>(times_.exec_leeway).count();
  return !exec_->expires || *exec_->expires - leeway > static_cast<std::int64_t>(std::time(nullptr));
}

void Credentials::finish_exec(Result<ExecCredential> result) {
  running_.reset();
  std::vector<Done> waiting = std::exchange(waiting_, {});
  if (!result) {
    failure_ = result.error();
    failure_pause_ =
        failure_pause_.count() == 0 ? times_.backoff_first : std::min(failure_pause_ * 2, times_.backoff_max);
    failed_until_ = std::chrono::steady_clock::now() + failure_pause_;
    for (const Done& done : waiting) {
      done(result.error());
    }
    return;
  }
  failure_.reset();
  failure_pause_ = {};
  exec_ = *std::move(result);
  const auto identity = make_identity();
  for (const Done& done : waiting) {
    done(identity);
  }
}

Result<std::string> Credentials::file_text(const std::string& path, std::chrono::milliseconds age) {
  CachedFile& file = files_[path];
  const auto now = std::chrono::steady_clock::now();
  if (file.loaded && file.read_at != std::chrono::steady_clock::time_point{} && now - file.read_at < age) {
    return file.text;
  }
  auto text = read_file(path, kMaxCredentialBytes);
  if (text && !text->empty()) {
    file = {*std::move(text), now, true};
  } else if (!file.loaded) {
    return text ? Error{"the file is empty", path, "write the token or the PEM text into it"} : text.error();
  }
  return file.text;
}

Result<std::string> Credentials::pem_text(const PemSource& source) {
  return source.file.empty() ? Result<std::string>(source.data) : file_text(source.file, std::chrono::seconds(0));
}

Result<std::string> Credentials::authorization() {
  if (exec_ && !exec_->token.empty()) {
    return "Bearer " + exec_->token;
  }
  if (!access_.token_file.empty()) {
    auto token = file_text(access_.token_file, times_.token_reload);
    if (!token) {
      return token.error();
    }
    const std::string text = trimmed(*std::move(token));
    if (text.find_first_of("\r\n") != std::string::npos) {
      return Error{"the token has more than one line", access_.token_file, "write only the token into it"};
    }
    return "Bearer " + text;
  }
  if (!access_.token.empty()) {
    return "Bearer " + access_.token;
  }
  if (!access_.username.empty()) {
    return "Basic " + encode_base64(access_.username + ":" + access_.password);
  }
  return std::string();
}

Result<Credentials::Identity> Credentials::make_identity() {
  ApiIdentity now;
  auto header = authorization();
  auto ca = pem_text(access_.ca), certificate = pem_text(access_.client_certificate),
       key = pem_text(access_.client_key);
  for (const auto* part : {&header, &ca, &certificate, &key}) {
    if (!*part) {
      return part->error();
    }
  }
  now.authorization = *std::move(header);
  now.ca = *std::move(ca);
  const bool from_exec = exec_ && !exec_->certificate.empty();
  now.certificate = from_exec ? exec_->certificate : *std::move(certificate);
  now.key = from_exec ? exec_->key : *std::move(key);
  const bool same_keys = last_ && last_->ca == now.ca && last_->certificate == now.certificate && last_->key == now.key;
  if (same_keys && last_->authorization == now.authorization) {
    return last_;
  }
  now.version = same_keys ? last_->version : ++last_version_;
  last_ = std::make_shared<const ApiIdentity>(std::move(now));
  return last_;
}

}  // namespace isthmus
