#include "config/yaml/tree.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

namespace isthmus {
namespace {

// Bounds of what anchors and aliases copy (the "billion laughs" attack; anchors inside anchors; a long text many
// times).
constexpr std::size_t kCopiedBytes = 16 << 20;
constexpr std::size_t kDepth = 600;

struct Refused : std::exception {
  Refused(unsigned at, std::string text) : line(at), what_text(std::move(text)) {}
  unsigned line;
  std::string what_text;
};

// What a copy of the node takes.
std::size_t bytes_of(const YamlNode& node) {
  std::size_t bytes = sizeof node + node.text.size();
  for (const YamlKey& key : node.keys) {
    bytes += sizeof key + key.text.size();
  }
  for (const YamlNode& item : node.items) {
    bytes += bytes_of(item);
  }
  return bytes;
}

std::size_t depth_of(const YamlNode& node) {
  std::size_t deepest = 0;
  for (const YamlNode& item : node.items) {
    deepest = std::max(deepest, depth_of(item));
  }
  return deepest + 1;
}

// Builds the tree from the parser's events; throws Refused, which parse_yaml() catches.
class Builder final : public YAML::EventHandler {
 public:
  Builder(unsigned first_line, unsigned last_line) : first_line_(first_line), last_line_(last_line) {}

  void OnDocumentStart(const YAML::Mark& mark) override { start_line_ = line_of(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    finish(node_at(mark, YamlNode::Kind::kNull), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node = node_at(mark, YamlNode::Kind::kScalar);
    node.text = value;
    node.quoted = tag != "?";
    finish(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Refused(line_of(mark), "an alias refers to a node that contains it");
    }
    count_copy(found->second, line_of(mark));
    if (open_.size() + depth_of(found->second) > kDepth) {
      throw Refused(line_of(mark), "aliases expand to more than a document may hold");
    }
    finish(found->second, YAML::NullAnchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    begin(node_at(mark, YamlNode::Kind::kSequence), anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    begin(node_at(mark, YamlNode::Kind::kMap), anchor);
  }
  void OnMapEnd() override { end(); }

  [[nodiscard]] YamlNode take() { return root_ ? std::move(*root_) : YamlNode{}; }
  [[nodiscard]] unsigned start_line() const { return start_line_; }
  [[nodiscard]] unsigned line_of(const YAML::Mark& mark) const {
    return std::min(last_line_, first_line_ + static_cast<unsigned>(std::max(mark.line, 0)));
  }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor;
    bool key_pending = false;  // maps: a key was read, its value is next
  };

  [[nodiscard]] YamlNode node_at(const YAML::Mark& mark, YamlNode::Kind kind) const {
    YamlNode node;
    node.kind = kind;
    node.line = line_of(mark);
    return node;
  }
  void begin(YamlNode node, YAML::anchor_t anchor) { open_.push_back({std::move(node), anchor}); }
  void end() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    finish(std::move(closed.node), closed.anchor);
  }
  void count_copy(const YamlNode& node, unsigned line) {
    copied_bytes_ += bytes_of(node);
    if (copied_bytes_ > kCopiedBytes) {
      throw Refused(line, "anchors and aliases expand to more than a document may hold");
    }
  }
  void finish(YamlNode node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      count_copy(node, node.line);
      anchors_.insert_or_assign(anchor, node);
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kMap && !parent.key_pending) {
      if (!node.items.empty()) {
        throw Refused(node.line, "a key must be a plain word, not a list or mapping");
      }
      parent.node.keys.push_back({std::move(node.text), node.line});
      parent.key_pending = true;
      return;
    }
    if (parent.key_pending && node.kind == YamlNode::Kind::kNull) {
      node.line = parent.node.keys.back().line;  // the parser reports the line of the next token
    }
    parent.key_pending = false;
    parent.node.items.push_back(std::move(node));
  }

  unsigned first_line_, last_line_;
  unsigned start_line_ = 0;
  std::optional<YamlNode> root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  std::size_t copied_bytes_ = 0;
};

// YAML allows no control characters but tab and line ends; yaml-cpp takes some of them for the end of the text.
std::optional<YamlError> control_character(std::string_view text, unsigned first_line) {
  unsigned line = first_line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      ++line;
    } else if ((byte < 0x20 && c != '\t' && c != '\r') || byte == 0x7f) {
      return YamlError{line, "control character in the text", "write plain UTF-8 text"};
    }
  }
  return std::nullopt;
}

unsigned last_line(std::string_view text, unsigned first_line) {
  const auto newlines = std::count(text.begin(), text.end(), '\n');
  return first_line + static_cast<unsigned>(newlines) - (text.ends_with('\n') ? 1 : 0);
}

bool is_mark(std::string_view line, std::string_view mark) {
  return line.substr(0, 3) == mark && (line.size() == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r');
}

bool has_content(std::string_view text) {
  bool line_start = true, comment = false;
  for (const char c : text) {
    if (c == '\n') {
      line_start = true;
      comment = false;
    } else if (!comment && line_start && (c == '#' || c == '%')) {
      comment = true;
    } else if (!comment && c != ' ' && c != '\t' && c != '\r') {
      return true;
    }
  }
  return false;
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const noexcept {
  for (std::size_t i = 0; i < keys.size() && i < items.size(); ++i) {
    if (keys[i].text == key) {
      return &items[i];
    }
  }
  return nullptr;
}

const YamlNode* find_path(const YamlNode& root, std::string_view path) noexcept {
  const YamlNode* node = &root;
  while (node != nullptr && !path.empty()) {
    const auto dot = path.find('.');
    node = node->find(path.substr(0, dot));
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return node == nullptr || node->kind == YamlNode::Kind::kNull ? nullptr : node;
}

std::string_view YamlNode::kind_name() const noexcept {
  switch (kind) {
    case Kind::kScalar:
      return "a value";
    case Kind::kSequence:
      return "a list";
    case Kind::kMap:
      return "a mapping";
    case Kind::kNull:
      break;
  }
  return "nothing";
}

std::vector<YamlDocumentText> split_documents(std::string_view text) {
  std::vector<YamlDocumentText> documents;
  std::size_t begin = 0;
  unsigned begin_line = 1, line_number = 1;
  const auto cut = [&](std::size_t end) {
    std::string_view piece = text.substr(begin, end - begin);
    const std::string_view body = is_mark(piece.substr(0, piece.find('\n')), "---") ? piece.substr(3) : piece;
    if (has_content(body)) {
      documents.push_back({piece, begin_line});
    }
  };
  for (std::size_t at = 0; at < text.size(); ++line_number) {
    const std::size_t newline = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, newline - at);
    const std::size_t next = std::min(newline + 1, text.size());
    if (is_mark(line, "---")) {
      cut(at);
      begin = at;
      begin_line = line_number;
    } else if (is_mark(line, "...")) {
      cut(at);
      begin = next;
      begin_line = line_number + 1;
    }
    at = next;
  }
  cut(text.size());
  return documents;
}

std::variant<YamlNode, YamlError> parse_yaml(std::string_view document, unsigned first_line) {
  if (auto error = control_character(document, first_line)) {
    return *std::move(error);
  }
  constexpr auto kFix = "fix the YAML there";
  const unsigned end_line = last_line(document, first_line);
  Builder builder(first_line, end_line);
  try {
    // yaml-cpp takes the end of the text for the closing quote when a line ends right before it: a comment does not.
    std::istringstream in{std::string(document) + "\n#"};
    YAML::Parser parser(in);
    parser.HandleNextDocument(builder);
    Builder rest(first_line, end_line);
    if (parser.HandleNextDocument(rest)) {
      return YamlError{rest.start_line(), "text after the end of the document",
                       "check the indentation and brackets before it, or begin a document with ---"};
    }
  } catch (const Refused& refused) {
    return YamlError{refused.line, refused.what_text, kFix};
  } catch (const YAML::DeepRecursion& error) {
    return YamlError{builder.line_of(error.mark), "the document is nested too deeply", kFix};
  } catch (const YAML::Exception& error) {
    const unsigned line = error.mark.is_null() ? first_line : builder.line_of(error.mark);
    return YamlError{line, "not valid YAML: " + error.msg, kFix};
  } catch (const std::exception& error) {
    return YamlError{first_line, std::string("not valid YAML: ") + error.what(), kFix};
  }
  return builder.take();
}

}  // namespace isthmus
