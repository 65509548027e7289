#include "control/source/kubernetes/api_caller.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "control/source/kubernetes/api_text.h"

namespace isthmus {
namespace {

constexpr std::size_t kMaxAnswerBytes = 256U << 20;

}  // namespace

Result<ApiAnswer> ApiCaller::ask(const ApiRequest& request) {
  std::optional<Result<ApiAnswer>> result;
  credentials_.get([&](Result<Credentials::Identity> identity) {
    if (!identity) {
      result = identity.error();
      return;
    }
    auto answer = std::make_shared<ApiAnswer>();
    connection_.send(*identity, request,
                     {[answer](const ApiHead& head) { answer->status = head.status; },
                      [answer](std::string_view bytes) {
                        const std::size_t room = kMaxAnswerBytes - std::min(kMaxAnswerBytes, answer->body.size());
                        answer->body.append(bytes.substr(0, room));
                      },
                      [&result, answer, this](const ApiOutcome& end) {
                        result = end.complete ? Result<ApiAnswer>(std::move(*answer))
                                              : Result<ApiAnswer>(Error{end.error, access_.server,
                                                                        "see that the API server can be reached"});
                      }});
  });
  while (!result) {
    io_.restart();
    if (io_.run_one() == 0) {
      return Error{"the API server gave no answer", access_.server, "try again"};
    }
  }
  return *std::move(result);
}

Error ApiCaller::refusal(const ApiAnswer& answer, const std::string& path, const std::string& right) const {
  const std::string said = "HTTP " + std::to_string(answer.status) + ": " + status_message(answer.body);
  return {said, access_.server + path,
          answer.status == 403   ? "grant " + right + " to the user of this kubeconfig"
          : answer.status == 401 ? "renew the credentials of this kubeconfig"
                                 : "see what the API server says"};
}

Status ApiCaller::list(const std::string& path, const std::string& right, bool optional,
                       const std::function<void(const YamlNode&)>& visit) {
  std::string next;
  do {
    ApiRequest request;
    request.target = path + "?limit=500" + (next.empty() ? "" : "&continue=" + percent_encoded(next));
    const auto answer = ask(request);
    if (!answer) {
      return answer.error();
    }
    if (answer->status == 404 && optional) {
      return Ok{};
    }
    if (answer->status != 200) {
      return refusal(*answer, path, "list on " + right);
    }
    const auto page = read_list_page(answer->body);
    if (!page) {
      return page.error();
    }
    for (const YamlNode& object : page->items()) {
      visit(object);
    }
    next = page->next;
  } while (!next.empty());
  return Ok{};
}

}  // namespace isthmus
