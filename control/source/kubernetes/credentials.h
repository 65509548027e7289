// Who we are to one API server, kept fresh: token and key files are read again as they age, a credential program runs
// again when what it gave expires or is refused. Thread: the io_context's. Small files are read at once; a program runs
// beside (exec_plugin.h). A file that cannot be read leaves what was read before in force.
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

  // Calls `done` with the identity for the next request: before this returns, or when the program has run.
  void get(Done done);
  // The server answered 401 to that identity: what may have changed is read anew for the next one.
  void refused(const Identity& identity);

 private:
  struct FileText {
    std::string text;
    std::chrono::steady_clock::time_point read_at{};
    bool ever_read = false;
  };
  // The text of a source; an error only when a file was never read.
  Result<std::string> pem_text(const PemSource& source);
  Result<std::string> file_text(const std::string& path, std::chrono::milliseconds age);
  [[nodiscard]] bool exec_stands() const;
  void finish_exec(Result<ExecCredential> result);
  Result<Identity> make_identity();
  Result<std::string> authorization();

  boost::asio::io_context& io_;
  const ApiAccess& access_;
  const ApiTimes& times_;
  std::map<std::string, FileText> files_;
  std::optional<ExecCredential> exec_;
  std::unique_ptr<ExecRun> running_;
  std::vector<Done> waiting_;
  Identity last_;
  std::uint64_t versions_ = 0;
};

}  // namespace isthmus
