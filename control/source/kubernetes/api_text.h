// What an API server sends, as values: the frames of a watch, events, list pages, Status objects. Pure; nothing throws.
// Thread: any.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "config/yaml/tree.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Cuts a stream of JSON objects wherever its chunks were split. Owner: one answer.
class JsonFrames {
 public:
  explicit JsonFrames(std::size_t longest = 64U << 20) : longest_(longest) {}
  using Take = std::function<bool(std::string_view)>;
  // Calls `take` for every object that is whole by now, as long as it returns true. False when the stream is no
  // sequence of objects, or one is longer than allowed: nothing that follows can be read then.
  [[nodiscard]] bool push(std::string_view bytes, const Take& take);

 private:
  // Where the object that begins the pending bytes ends; npos when it has not come yet.
  std::size_t scan();

  std::size_t longest_;
  std::string pending_;
  std::size_t scanned_ = 0;
  unsigned depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

struct WatchEvent {
  enum class Type : std::uint8_t { kAdded, kModified, kDeleted, kBookmark, kError };
  Type type = Type::kAdded;
  YamlNode object;
  std::string resource_version;
  bool initial_end = false;  // of a bookmark: everything that was there has been sent
  unsigned code = 0;         // kError: of the Status
  std::string message;       // kError
};
[[nodiscard]] Result<WatchEvent> read_watch_event(std::string_view frame);

struct ListPage {
  YamlNode tree;  // the List
  std::string resource_version, next;
  [[nodiscard]] const std::vector<YamlNode>& items() const;
};
[[nodiscard]] Result<ListPage> read_list_page(std::string_view text);

// The message of a Status object; the text's beginning when it is none.
[[nodiscard]] std::string status_message(std::string_view text);
// For a query: what is not a letter, a digit or one of -._~ is written as %XX.
[[nodiscard]] std::string percent_encoded(std::string_view text);

// metadata.<key> of an object; empty when there is none.
[[nodiscard]] const std::string& metadata_text(const YamlNode& object, std::string_view key);

}  // namespace isthmus
