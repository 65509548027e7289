// Requests that tell an API server what a gateway makes of an object: of our own kinds the status, of policies an
// Event. Pure; nothing throws. Thread: any.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "control/source/object_report.h"

namespace isthmus {

// An object as an API server names it.
struct ApiObjectName {
  std::string location;                      // its URL
  std::string path;                          // of the URL, behind the server's
  std::string version, kind, plural;         // "isthmus.io/v1alpha1", "Cluster", "clusters"
  std::string ns = {}, name = {}, uid = {};  // ns empty: of the whole cluster
};

struct ApiWrite {
  enum class What : std::uint8_t { kEntry, kSummary, kRemoval, kEvent };
  What what = What::kEntry;
  std::string location;  // of the object that it is about
  std::string about;     // the same for people: "Cluster west"
  std::string gateway;   // kRemoval: whose entry
  std::string ns;        // kEvent: where it is written
  std::string event;     // kEvent: its name
  std::string method, target, content_type, body;
  std::string right;  // "patch on clusters/status of isthmus.io"
};

struct ApiCondition {
  std::string status, reason, message, since, generation;
};

inline constexpr const char *kAcceptedCondition = "Accepted", *kReadyCondition = "Ready";

// What a gateway says of its own Gateway object, beside its entry.
struct GatewayStatus {
  ApiCondition ready;
  std::string version;
  std::size_t workers = 0, problems = 0;
};

// The entry of `gateway` in status.gateways, by server-side apply in the name of its own field manager.
[[nodiscard]] ApiWrite entry_write(const ApiObjectName& name, const std::string& gateway, const ApiCondition& accepted,
                                   const std::optional<GatewayStatus>& own, std::chrono::system_clock::time_point wall);
// The condition Accepted of the whole.
[[nodiscard]] ApiWrite summary_write(const ApiObjectName& name, const ApiCondition& accepted);
// Removes what the field manager of `gateway` alone has written, and nothing that another manager owns, too.
[[nodiscard]] ApiWrite removal_write(const ApiObjectName& name, const std::string& gateway);
// Removes the item at `index` of status.gateways, whoever owns it, if it is that gateway's; otherwise answered by 422.
[[nodiscard]] ApiWrite removal_at_write(const ApiObjectName& name, const std::string& gateway, std::size_t index);
// Of one object, generation, reason and message there is one Event, whichever gateway writes it: the server answers 409
// to a second one of the name.
[[nodiscard]] std::string event_name(const ApiObjectName& name, const ObjectReport& report);
[[nodiscard]] ApiWrite event_write(const ApiObjectName& name, const std::string& gateway, const ObjectReport& report,
                                   std::chrono::system_clock::time_point wall);

// As a server takes it, at most: of a condition, and of an Event's note.
[[nodiscard]] std::string cut_message(std::string text);
// FNV-1a: the same in every gateway.
[[nodiscard]] std::uint64_t hash_of_text(const std::string& text) noexcept;
// A condition's time: as it was while its status stands, and now where that changes.
[[nodiscard]] std::string since_of(const std::optional<ApiCondition>& have, const std::string& status,
                                   std::chrono::system_clock::time_point wall);

}  // namespace isthmus
