#include "control/cli/query.h"

#include <cstdio>
#include <filesystem>
#include <vector>

#include "control/admin/client.h"
#include "control/cli/exit_code.h"

namespace isthmus {
namespace {

struct Choice {
  std::string socket;
  int exit_code = kExitOk;  // when `socket` is empty
};

std::string names_of(const std::vector<std::string>& sockets) {
  std::string names;
  for (const std::string& socket : sockets) {
    names += (names.empty() ? "" : ", ") + std::filesystem::path(socket).stem().string();
  }
  return names;
}

Choice choose_socket(const QueryOptions& options) {
  if (options.socket.find('/') != std::string::npos) {
    return {options.socket};
  }
  if (!options.socket.empty()) {
    return {options.run_folder + "/" + options.socket + ".sock"};
  }
  const auto all = list_gateway_sockets(options.run_folder);
  std::vector<std::string> alive;
  for (const std::string& socket : all) {
    if (gateway_listens(socket)) {
      alive.push_back(socket);
    }
  }
  if (alive.size() == 1) {
    return {alive.front()};
  }
  if (alive.size() > 1) {
    complain(
        Error{"several gateways run here: " + names_of(alive), options.run_folder, "choose one with --socket NAME"});
    return {{}, kExitUsage};
  }
  complain(Error{all.empty() ? "no gateway runs here" : "no gateway answers; sockets left over: " + names_of(all),
                 options.run_folder, "start one with isthmus run -c FILE, or give its socket with --socket PATH"});
  return {{}, kExitUnreachable};
}

}  // namespace

void complain(const Error& error) { std::fprintf(stderr, "isthmus: %s\n", error.text().c_str()); }

int query(const QueryOptions& options) {
  const Choice choice = choose_socket(options);
  if (choice.socket.empty()) {
    return choice.exit_code;
  }
  const auto answer = ask_gateway(choice.socket, encode_request(options.request));
  if (!answer) {
    complain(answer.error());
    return kExitUnreachable;
  }
  const auto text = show_answer(options.request.command, *answer, options.view);
  if (!text) {
    complain(text.error());
    return kExitFailure;
  }
  const bool written = std::fwrite(text->data(), 1, text->size(), stdout) == text->size() && std::fflush(stdout) == 0;
  return written ? kExitOk : kExitFailure;
}

}  // namespace isthmus
