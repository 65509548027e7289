#include "control/cli/hub_view.h"

#include <cstdint>
#include <vector>

#include "control/cli/json_members.h"
#include "control/cli/table.h"

namespace isthmus {
namespace {

using namespace json_members;

std::string invalid_values(const std::vector<const json*>& parts) {
  std::string text;
  for (const json* part : parts) {
    for (const json* key : list_of(*part, "invalid")) {
      text += "  " + printable(text_of(*part, "name") + ": " + text_of(*key, "key")) + "\n";
    }
  }
  return text.empty() ? "" : "\nvalues refused at present\n" + text;
}

std::string restored_view(const json& hub) {
  Table table{{"RESTORED FROM"}, {"CLUSTER"}, {"OBJECTS", Align::kRight}, {"LAST IN STEP", Align::kRight}, {"STATE"}};
  for (const json* part : list_of(hub, "restored")) {
    table.add({text_of(*part, "hub"), or_dash(text_of(*part, "cluster")), count_of(*part, "objects"),
               duration_text(number_of(*part, "age_ms")) + " ago",
               is_set(*part, "held") ? "missing, held" : "not confirmed"});
  }
  return table.empty() ? "" : "\nas known before the restart\n" + table.text();
}

}  // namespace

std::string hub_view(const json& status) {
  const json& hub = member(status, "hub");
  std::string text;
  for (const json* source : list_of(hub, "sources")) {
    text += printable(text_of(*source, "description")) + "\n";
  }
  text += is_set(hub, "synced") ? "in sync\n" : "not in sync\n";
  Table table{{"PART"},
              {"STATE"},
              {"SERVER"},
              {"OBJECTS", Align::kRight},
              {"EVENTS", Align::kRight},
              {"REFUSED", Align::kRight},
              {"RETAINED", Align::kRight},
              {"CONNECTS", Align::kRight},
              {"LAST EVENT", Align::kRight},
              {"LAST ERROR"}};
  const auto parts = list_of(hub, "parts");
  for (const json* part : parts) {
    const bool has_event = part->contains("last_event_ms") && (*part)["last_event_ms"].is_number_unsigned();
    table.add({text_of(*part, "name"), text_of(*part, "state"), or_dash(text_of(*part, "server")),
               count_of(*part, "objects"), count_of(*part, "events"), count_of(*part, "refused"),
               count_of(*part, "retained"), count_of(*part, "connects"),
               has_event ? duration_text(number_of(*part, "last_event_ms")) + " ago" : std::string("-"),
               or_dash(text_of(*part, "last_error"))});
  }
  return text + (table.empty() ? "" : "\n" + table.text()) + restored_view(hub) + invalid_values(parts);
}

}  // namespace isthmus
