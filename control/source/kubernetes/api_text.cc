#include "control/source/kubernetes/api_text.h"

#include <array>
#include <charconv>
#include <utility>

#include "config/yaml/json.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

// managedFields is about half of an object and is not used here.
constexpr JsonBounds kBounds{64, 20'000'000, "managedFields"};

const std::string& text_of(const YamlNode* map, std::string_view key) {
  static const std::string kNone;
  const YamlNode* value = map == nullptr ? nullptr : map->find(key);
  return value == nullptr || value->kind != YamlNode::Kind::kScalar ? kNone : value->text;
}

Error invalid_response(const std::string& what) {
  return {what, "", "check that the server, and any proxy in front of it, serves the Kubernetes API"};
}

}  // namespace

std::size_t JsonFrames::scan() {
  for (; scanned_ < pending_.size(); ++scanned_) {
    const char c = pending_[scanned_];
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && depth_ > 0 && --depth_ == 0) {
      return ++scanned_;
    }
  }
  return std::string::npos;
}

bool JsonFrames::push(std::string_view bytes, const Callback& callback) {
  pending_.append(bytes);
  std::size_t taken = 0;
  bool valid = true, more = true;
  while (more) {
    if (scanned_ == taken) {
      taken = std::min(pending_.find_first_not_of(" \t\r\n", taken), pending_.size());
      scanned_ = taken;
    }
    if (taken == pending_.size()) {
      break;
    }
    if (pending_[taken] != '{') {
      valid = false;
      break;
    }
    const std::size_t end = scan();
    if (end == std::string::npos) {
      valid = pending_.size() - taken <= max_bytes_;
      break;
    }
    more = callback(std::string_view(pending_).substr(taken, end - taken));
    taken = end;
  }
  pending_.erase(0, taken);
  scanned_ -= std::min(scanned_, taken);
  return valid;
}

const std::string& metadata_text(const YamlNode& object, std::string_view key) {
  return text_of(object.find("metadata"), key);
}

Result<WatchEvent> read_watch_event(std::string_view frame) {
  auto parsed = parse_json(frame, kBounds);
  if (const auto* error = std::get_if<YamlError>(&parsed)) {
    return invalid_response("a watch event is " + error->what);
  }
  YamlNode& tree = *std::get_if<YamlNode>(&parsed);
  static constexpr std::array<std::pair<std::string_view, WatchEvent::Type>, 5> kTypes{
      {{"ADDED", WatchEvent::Type::kAdded},
       {"MODIFIED", WatchEvent::Type::kModified},
       {"DELETED", WatchEvent::Type::kDeleted},
       {"BOOKMARK", WatchEvent::Type::kBookmark},
       {"ERROR", WatchEvent::Type::kError}}};
  const std::string type = text_of(&tree, "type");
  WatchEvent event;
  bool known = false;
  for (const auto& [name, value] : kTypes) {
    if (name == type) {
      event.type = value;
      known = true;
    }
  }
  YamlNode* object = nullptr;
  for (std::size_t i = 0; i < tree.keys.size() && i < tree.items.size(); ++i) {
    object = tree.keys[i].text == "object" ? &tree.items[i] : object;
  }
  if (!known || object == nullptr || object->kind != YamlNode::Kind::kMap) {
    return invalid_response("a watch event has the type " + shown(type) + (object == nullptr ? " and no object" : ""));
  }
  event.object = std::move(*object);
  event.resource_version = metadata_text(event.object, "resourceVersion");
  if (event.type == WatchEvent::Type::kBookmark) {
    const YamlNode* metadata = event.object.find("metadata");
    event.initial_events_end =
        metadata != nullptr && text_of(metadata->find("annotations"), "k8s.io/initial-events-end") == "true";
  }
  if (event.type == WatchEvent::Type::kError) {
    const std::string& code = text_of(&event.object, "code");
    (void)std::from_chars(code.data(), code.data() + code.size(), event.code);
    event.message = text_of(&event.object, "message");
  }
  return event;
}

const std::vector<YamlNode>& ListPage::items() const {
  static const std::vector<YamlNode> kNone;
  const YamlNode* list = tree.find("items");
  return list == nullptr || list->kind != YamlNode::Kind::kSequence ? kNone : list->items;
}

Result<ListPage> read_list_page(std::string_view text) {
  auto parsed = parse_json(text, kBounds);
  if (const auto* error = std::get_if<YamlError>(&parsed)) {
    return invalid_response("the list is " + error->what);
  }
  ListPage page;
  page.tree = std::move(*std::get_if<YamlNode>(&parsed));
  page.resource_version = metadata_text(page.tree, "resourceVersion");
  page.next = metadata_text(page.tree, "continue");
  const YamlNode* items = page.tree.find("items");
  const bool list = text_of(&page.tree, "kind").ends_with("List") && items != nullptr &&
                    (items->kind == YamlNode::Kind::kSequence || items->kind == YamlNode::Kind::kNull);
  if (!list || page.resource_version.empty()) {
    return invalid_response("the response is not a list with a resourceVersion");
  }
  return page;
}

std::string status_message(std::string_view text) {
  constexpr std::size_t kMaxBytes = 200;
  auto parsed = parse_json(text, kBounds);
  const auto* tree = std::get_if<YamlNode>(&parsed);
  std::string message = tree == nullptr ? std::string(text) : text_of(tree, "message");
  message.resize(std::min(message.size(), kMaxBytes));
  for (char& c : message) {
    c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  }
  return message;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 0xf]};
    }
  }
  return out;
}

}  // namespace isthmus
