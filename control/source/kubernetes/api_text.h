// Parses what an API server sends: frames of a watch, events, list pages, Status objects. Pure; nothing throws.
// Thread: any.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "config/yaml/tree.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Splits a stream of JSON objects, however it is chunked. Owner: one response.
class JsonFrames {
 public:
  explicit JsonFrames(std::size_t max_bytes = 64U << 20) : max_bytes_(max_bytes) {}
  using Callback = std::function<bool(std::string_view)>;
  // Calls `callback` for every complete object, until it returns false. Returns false when the stream is not a sequence
  // of objects, or one is longer than `max_bytes`; the rest of the stream cannot be read then.
  [[nodiscard]] bool push(std::string_view bytes, const Callback& callback);

 private:
  // The end of the object at the start of the pending bytes; npos: it is not complete yet.
  std::size_t scan();

  std::size_t max_bytes_;
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
  bool initial_events_end = false;  // kBookmark: all objects that existed have been sent
  unsigned code = 0;                // kError: of the Status
  std::string message;              // kError
};
[[nodiscard]] Result<WatchEvent> read_watch_event(std::string_view frame);

struct ListPage {
  YamlNode tree;  // the List
  std::string resource_version, next;
  [[nodiscard]] const std::vector<YamlNode>& items() const;
};
[[nodiscard]] Result<ListPage> read_list_page(std::string_view text);

// The message of a Status object; of any other text, its beginning. One line, 200 bytes at most.
[[nodiscard]] std::string status_message(std::string_view text);
// For a URL query: everything but letters, digits and -._~ becomes %XX.
[[nodiscard]] std::string percent_encoded(std::string_view text);

// metadata.<key> of an object; empty when absent.
[[nodiscard]] const std::string& metadata_text(const YamlNode& object, std::string_view key);

}  // namespace isthmus
