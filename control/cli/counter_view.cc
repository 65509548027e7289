#include "control/cli/counter_view.h"

#include <cstdint>
#include <string_view>

#include "control/cli/json_members.h"
#include "control/cli/table.h"
#include "dataplane/api/counters.h"

namespace isthmus {
namespace {

using namespace json_members;

// The number at a path of the list of counters; 0 when the gateway does not have it.
std::uint64_t number_at(const json& object, std::string_view path) {
  const json* at = &object;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    at = &member(*at, std::string(path.substr(0, dot)).c_str());
    path.remove_prefix(dot + 1);
  }
  return number_of(*at, std::string(path).c_str());
}

Table counter_table() { return Table{{"COUNTER"}, {"VALUE", Align::kRight}, {"UNIT"}, {"MEANING, AND WHERE TO LOOK"}}; }

template <typename Counts>
void add_counters(const json& object, Table& table) {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    const std::uint64_t value = number_at(object, row.json);
    table.add({std::string(row.json), std::to_string(value), std::string(row.unit), std::string(row.text)});
    if (!row.hint.empty() && value > 0) {
      table.add({"", "", "", "  " + std::string(row.hint)});
    }
  }
}

std::string device_title(const json& device) {
  return "\ndevice " + printable(text_of(device, "name")) + " (" + printable(text_of(device, "side")) + ")\n";
}

std::string losses_table(const std::vector<const json*>& losses, const std::string& title, bool all) {
  Table table{{"COUNT", Align::kRight}, {"LOSS"}, {"UNIT"}, {"MEANING, AND WHERE TO LOOK"}};
  for (const json* loss : losses) {
    if (all || number_of(*loss, "count") > 0) {
      table.add({count_of(*loss, "count"), text_of(*loss, "name"), text_of(*loss, "unit"), text_of(*loss, "text")});
      table.add({"", "", "", "  " + text_of(*loss, "hint")});
    }
  }
  return table.empty() ? "" : title + table.text();
}

}  // namespace

std::string counters_view(const nlohmann::json& status) {
  Table engine = counter_table();
  add_counters<WorkerCounts>(status, engine);
  add_counters<FlowCounts>(status, engine);
  add_counters<TableCounts>(status, engine);
  std::string text = engine.text();
  for (const json* device : list_of(status, "devices")) {
    Table table = counter_table();
    add_counters<QueueCounters>(*device, table);
    if (device->contains("left_to_kernel")) {
      add_counters<SteerCounters>(*device, table);
    }
    text += device_title(*device) + table.text();
  }
  return text;
}

std::string drops_view(const nlohmann::json& drops, bool all) {
  Table table{{"PACKETS", Align::kRight}, {"REASON"}, {"CILIUM"}, {"MEANING, AND WHERE TO LOOK"}};
  for (const json* r : list_of(drops, "reasons")) {
    if (all || number_of(*r, "packets") > 0) {
      const std::string cilium = text_of(*r, "cilium_name");
      table.add({count_of(*r, "packets"), text_of(*r, "name"),
                 cilium.empty() ? "-" : count_of(*r, "cilium_code") + " " + cilium, text_of(*r, "text")});
      table.add({"", "", "", "  " + text_of(*r, "hint")});
    }
  }
  std::string text = table.empty() ? "no packets dropped\n" : table.text();
  for (const json* device : list_of(drops, "devices")) {
    text += losses_table(list_of(*device, "losses"), device_title(*device), all);
  }
  return text + losses_table(list_of(drops, "tables"), "\ntables\n", all);
}

}  // namespace isthmus
