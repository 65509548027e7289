// Sends what ObjectReports has to write, one request at a time and no more than a few in a second. Owner: ApiSource.
// Thread: the io_context's. Failure costs nothing but the write, and after each of them the next object has its turn:
// 401, credentials are read again; 409, the object was written meanwhile, or is another one: again after a while, and
// an Event is there already; 403, the object is asked for again after ApiTimes::unavailable, and so is the right where
// several objects in a row are answered so: by its name where the server says that it is missing; 404, the object is
// gone or its kind has no status; 429, 5xx and no answer: Retry-After or an exponential backoff for all, that object
// later than the others, and listed from the third one on; anything else is listed and tried again after
// ApiTimes::unavailable. What is listed ends when it is written, or is no longer to be.
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
  void on_success(const ApiOutcome& end, std::chrono::steady_clock::time_point now);
  void on_accident(const ApiOutcome& end, std::chrono::steady_clock::time_point now);
  void on_refusal(std::chrono::steady_clock::time_point now);
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
  struct Failure {
    std::string about, said, fix;
    std::string right;      // missing, as the server says; empty: it is something else
    bool may_pass = false;  // it is no problem to list before it has happened a few times
    unsigned times = 0;
  };
  Failure& fail(std::string said, std::string fix);

  std::map<std::string, Failure> failures_;  // by the object's location, since its last success
};

}  // namespace isthmus
