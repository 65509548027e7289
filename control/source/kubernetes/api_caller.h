// Requests to an API server, one after the other, each waited for: for commands, not for gateways. Thread: the
// caller's, which blocks; no shared state. Failure: an error with the server's or the path's URL and what to do.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>

#include "config/yaml/tree.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/api_connection.h"
#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/times.h"

namespace isthmus {

struct ApiAnswer {
  unsigned status = 0;
  std::string body;  // cut after 256 MiB
};

// `access` and `times` outlive it.
class ApiCaller {
 public:
  ApiCaller(const ApiAccess& access, const ApiTimes& times)
      : access_(access), times_(times), credentials_(io_, access_, times_), connection_(io_, access_, times_) {}

  [[nodiscard]] Result<ApiAnswer> ask(const ApiRequest& request);
  // What the server refuses, as a person is told. `right`: what the request needs.
  [[nodiscard]] Error refusal(const ApiAnswer& answer, const std::string& path, const std::string& right) const;
  // Calls visit(object) for all of a kind. `optional`: where there is no such kind (404), there are none.
  [[nodiscard]] Status list(const std::string& path, const std::string& right, bool optional,
                            const std::function<void(const YamlNode&)>& visit);

 private:
  boost::asio::io_context io_{1};
  const ApiAccess& access_;
  const ApiTimes& times_;
  Credentials credentials_;
  ApiConnection connection_;
};

}  // namespace isthmus
