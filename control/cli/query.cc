#include "control/cli/query.h"

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "control/admin/client.h"
#include "control/cli/exit_code.h"
#include "control/cli/flow_view.h"

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
  complain(Error{all.empty() ? "no gateway runs here" : "no gateway answers; stale sockets: " + names_of(all),
                 options.run_folder, "start one with isthmus run -c FILE, or name its socket with --socket PATH"});
  return {{}, kExitUnreachable};
}

bool print(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

// Prints flows until they end, or stdout is closed.
int query_flows(const std::string& socket, const QueryOptions& options) {
  std::optional<Error> failed;
  bool first = true, written = true;
  const Status asked = ask_gateway_for_lines(socket, encode_request(options.request), [&](std::string_view line) {
    if (std::exchange(first, false)) {
      const Status begun = check_flows_answer(line);
      failed = begun.ok() ? std::nullopt : std::optional(begun.error());
      return begun.ok();
    }
    written = print(options.view.json ? std::string(line) + "\n" : compact_flow(line));
    return written;
  });
  if (failed) {
    complain(*failed);
    return kExitFailure;
  }
  if (!asked) {
    complain(asked.error());
    return kExitUnreachable;
  }
  return written ? kExitOk : kExitFailure;
}

// A pre-stop hook holds its process back until the others send elsewhere.
void wait_drained(const std::string& socket, const QueryOptions& options) {
  constexpr auto kLook = std::chrono::milliseconds(100);
  const auto end = std::chrono::steady_clock::now() + options.wait;
  while (options.request.command == AdminCommand::kDrain && !options.request.undo &&
         std::chrono::steady_clock::now() < end && gateway_listens(socket)) {
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace

void complain(const Error& error) { std::fprintf(stderr, "isthmus: %s\n", error.text().c_str()); }

int query(const QueryOptions& options) {
  const Choice choice = choose_socket(options);
  if (choice.socket.empty()) {
    return choice.exit_code;
  }
  if (options.request.command == AdminCommand::kFlows) {
    return query_flows(choice.socket, options);
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
  const bool printed = print(*text);
  wait_drained(choice.socket, options);
  return printed ? kExitOk : kExitFailure;
}

}  // namespace isthmus
