// Every counter of the list has its place in the gateway's JSON and in what the command line shows.
#include "control/cli/counter_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "control/admin/replies.h"
#include "control/cli/views.h"
#include "test/support/counted_status.h"

namespace isthmus {
namespace {

using nlohmann::json;
using test::counted_status;
using test::each_counts;

std::string answer_text(AdminCommand command, const std::string& answer, const ViewOptions& options) {
  const auto text = show_answer(command, answer, options);
  EXPECT_TRUE(text.ok()) << (text.ok() ? "" : text.error().text());
  return text.ok() ? *text : std::string();
}

// The member at a path with dots, of a status or of its device.
json at_path(json object, std::string path) {
  for (std::size_t dot; (dot = path.find('.')) != std::string::npos; path = path.substr(dot + 1)) {
    object = object.value(path.substr(0, dot), json::object());
  }
  return object.value(path, json());
}

// Whether a line has these words, apart from its spaces, in this order.
bool has_line(const std::string& text, const std::string& first, const std::string& second, std::string_view third) {
  for (std::size_t at = text.find(first); at != std::string::npos; at = text.find(first, at + 1)) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    const std::size_t next = line.find(second, first.size());
    if (next != std::string::npos && line.find_first_not_of(' ', first.size()) == next &&
        line.find(third, next + second.size()) != std::string::npos) {
      return true;
    }
  }
  return false;
}

TEST(CounterJson, HasEveryRowAtItsPath) {
  StatusReply status = counted_status();
  const json content = json::parse(encode_status(status)).at("status");
  each_counts(status, [&](const auto& counts, const auto& rows) {
    for (const auto& row : rows) {
      const std::string path(row.json);
      const json value = &counts == static_cast<const void*>(&status.devices[0].status.counters) ||
                                 &counts == static_cast<const void*>(&*status.devices[0].steer)
                             ? at_path(content.at("devices").at(0), path)
                             : at_path(content, path);
      EXPECT_EQ(value, json(counts.*row.value)) << path;
    }
  });
}

TEST(CountersView, HasALineWithValueUnitAndMeaningForEveryRow) {
  StatusReply status = counted_status();
  ViewOptions options;
  options.counters = true;
  const std::string text = answer_text(AdminCommand::kStatus, encode_status(status), options);
  each_counts(status, [&](const auto& counts, const auto& rows) {
    for (const auto& row : rows) {
      EXPECT_TRUE(has_line(text, std::string(row.json), std::to_string(counts.*row.value), row.text)) << row.json;
      EXPECT_EQ(row.hint.empty(), text.find("  " + std::string(row.hint) + "\n") == std::string::npos) << row.json;
    }
  });
  EXPECT_NE(text.find("\ndevice eth0 (underlay)\n"), std::string::npos) << text;
}

TEST(CountersView, LeavesOutASteerProgramThatADeviceDoesNotHave) {
  StatusReply status = counted_status();
  status.devices[0].steer.reset();
  ViewOptions options;
  options.counters = true;
  EXPECT_EQ(answer_text(AdminCommand::kStatus, encode_status(status), options).find("left_to_kernel"),
            std::string::npos);
}

TEST(DropsView, HasALineWithTextAndHintForEveryLoss) {
  StatusReply status = counted_status();
  const std::string text = answer_text(AdminCommand::kDrops, encode_drops(status.counters, status.devices), {});
  unsigned losses = 0;
  each_counts(status, [&](const auto& counts, const auto& rows) {
    for (const auto& row : rows) {
      const bool there = has_line(text, std::to_string(counts.*row.value), std::string(row.json), row.text);
      EXPECT_EQ(there, row.lost()) << row.json << "\n" << text;
      if (row.lost()) {
        EXPECT_NE(text.find("  " + std::string(row.hint) + "\n"), std::string::npos) << row.hint;
        ++losses;
      }
    }
  });
  EXPECT_GT(losses, 8U);
}

TEST(DropsView, HidesLossesAtZeroUnlessAsked) {
  StatusReply status;
  status.devices.push_back({"underlay", {"eth0", "af_xdp native", {}, true}, SteerCounters{}});
  status.devices[0].status.counters.rx_no_frame = 57'725;
  status.devices[0].steer->foreign_source = 3;
  const std::string answer = encode_drops(status.counters, status.devices);
  EXPECT_EQ(answer_text(AdminCommand::kDrops, answer, {}),
            "no packets dropped\n"
            "\n"
            "device eth0 (underlay)\n"
            "COUNT  LOSS                           UNIT     MEANING, AND WHERE TO LOOK\n"
            "57725  rx_no_frame                    packets  Packets lost because no buffer was free for receiving\n"
            "                                                 raise engine.frames, or add workers\n"
            "    3  left_to_kernel.foreign_source  packets  Packets to the fleet from a source outside this cluster, "
            "left to the kernel\n"
            "                                                 check the routes and podCIDRs of this cluster\n");
  ViewOptions all;
  all.all_drops = true;
  const std::string text = answer_text(AdminCommand::kDrops, answer, all);
  for (const char* name : {"rx_ring_full", "oversize", "dropped_by_steer.engine_down", "connections.rejected_full",
                           "tables.endpoints_refused"}) {
    EXPECT_NE(text.find(name), std::string::npos) << name;
  }
}

TEST(StatusView, SaysHowManyPacketsWereLostAtDevicesAndNamesADiscardedTable) {
  StatusReply status;
  status.devices.push_back({"underlay", {"eth0", "af_xdp native", {}, false}, SteerCounters{}});
  status.devices[0].status.counters.rx_overrun = 40;
  status.devices[0].status.counters.tx_full = 1000;  // a drop reason has these already
  status.devices[0].steer->engine_down_dropped = 2;
  status.counters.connections_start = StateStart::kDiscarded;
  status.counters.connections_start_reason = "capacity was 1024, is 2048";
  const std::string text = answer_text(AdminCommand::kStatus, encode_status(status), {});
  EXPECT_NE(text.find("0 dropped, 42 lost at devices"), std::string::npos) << text;
  EXPECT_NE(text.find("the earlier table was discarded: capacity was 1024, is 2048"), std::string::npos) << text;
  EXPECT_TRUE(std::regex_search(text, std::regex("eth0 +underlay +down +af_xdp native +0 +0 +1000 +42\n"))) << text;
  const json content = json::parse(encode_status(status)).at("status");
  EXPECT_EQ(content["connections"]["start"], "discarded");
  EXPECT_EQ(content["connections"]["start_reason"], "capacity was 1024, is 2048");
  EXPECT_EQ(content["packets"]["lost_at_devices"], 42);
  EXPECT_EQ(content["devices"][0]["lost"], 42);
}

}  // namespace
}  // namespace isthmus
