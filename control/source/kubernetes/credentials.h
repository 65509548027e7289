// Credentials for one API server, kept fresh: token and key files are read again as they age, and a credential program
// runs again when its credentials expire or are rejected. Thread: the io_context's. Small files are read synchronously;
// a program runs asynchronously (exec_plugin.h). Failure: if a file cannot be read, its previous content stays in use.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/api_connection.h"
#include "control/source/kubernetes/exec_plugin.h"
#include "control/source/kubernetes/times.h"

namespace isthmus {

class Credentials {
 public:
  using Identity = std::shared_ptr<const ApiIdentity>;
  using Done = std::function<void(Result<Identity>)>;

  Credentials(boost::asio::io_context& io, const ApiAccess& access, const ApiTimes& times);
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  // Calls `done` with the identity for the next request: before this returns, or when the program has finished.
  void get(Done done);
  // The server answered 401 to `identity`: files are read and the program is run again for the next request.
  void on_unauthorized(const Identity& identity);

 private:
  struct CachedFile {
    std::string text;
    std::chrono::steady_clock::time_point read_at{};
    bool loaded = false;
  };
  // The text of a source. Fails only if a file was never read successfully.
  Result<std::string> pem_text(const PemSource& source);
  Result<std::string> file_text(const std::string& path, std::chrono::milliseconds age);
  [[nodiscard]] bool exec_valid() const;
  void finish_exec(Result<ExecCredential> result);
  Result<Identity> make_identity();
  Result<std::string> authorization();

  boost::asio::io_context& io_;
  const ApiAccess& access_;
  const ApiTimes& times_;
  std::map<std::string, CachedFile> files_;
  std::optional<ExecCredential> exec_;
  std::unique_ptr<ExecRun> running_;
  std::vector<Done> waiting_;
  std::optional<Error> failure_;  // of the program's last run, until it may be run again
  std::chrono::milliseconds failure_pause_{0};
  std::chrono::steady_clock::time_point failed_until_;
  Identity last_;
  std::uint64_t last_version_ = 0;
};

}  // namespace isthmus
