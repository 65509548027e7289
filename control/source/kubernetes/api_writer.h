// Sends what ObjectReports has to write, one request at a time and no more than a few in a second. Owner: ApiSource.
// Thread: the io_context's. Failure costs nothing but the write: 401, credentials are read again; 409, the object was
// written meanwhile, or is another one: again after a while; 403, the right is listed as missing and asked for again
// after ApiTimes::unavailable, of Events in that namespace; 404, the object is gone or its kind has no status; 429, 5xx
// and no answer: Retry-After or an exponential backoff, and after 5xx that object later than the others, and listed
// from the third one on; anything else is listed and tried again after ApiTimes::unavailable.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "control/model/objects.h"
#include "control/source/kubernetes/api_connection.h"
#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/object_reports.h"

namespace isthmus {

class ApiWriter {
 public:
  // All references must outlive this.
  ApiWriter(boost::asio::io_context& io, const ApiAccess& access, Credentials& credentials, const ApiTimes& times,
            ObjectReports& reports);
  ~ApiWriter() { connection_.close(); }
  ApiWriter(const ApiWriter&) = delete;
  ApiWriter& operator=(const ApiWriter&) = delete;

  // Something may be due; to be called every second, too.
  void kick();
  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  void send(const Credentials::Identity& identity);
  void on_end(const ApiOutcome& end);
  void on_refusal(std::chrono::steady_clock::time_point now);
  void on_failure(const char* fix);
  void rest(std::chrono::milliseconds pause);
  void back_off();

  const ApiAccess& access_;
  Credentials& credentials_;
  const ApiTimes& times_;
  ObjectReports& reports_;
  ApiConnection connection_;
  boost::asio::steady_timer timer_;
  std::mt19937 random_{std::random_device{}()};
  std::optional<ApiWrite> write_;  // under way
  bool resting_ = false;
  Credentials::Identity identity_;
  unsigned status_ = 0;
  std::optional<std::chrono::seconds> retry_after_;
  std::string body_;
  std::chrono::milliseconds backoff_;
  std::map<std::string, std::string> missing_;  // rights, with what the server says
  struct Failure {
    std::string said, fix;
    unsigned times = 0;
  };
  std::map<std::string, Failure> failed_;  // by the object's location, since its last success
};

}  // namespace isthmus
