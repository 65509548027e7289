#include "config/yaml/json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

// The SAX interface of nlohmann's parser; false ends the parse. Each container is built separately and moved into its
// parent when it ends, so that the tree never moves while it grows.
class TreeBuilder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  explicit TreeBuilder(const JsonBounds& bounds) : bounds_(bounds) {}

  bool null() { return finish(node_of(YamlNode::Kind::kNull)); }
  bool boolean(bool value) { return scalar(value ? "true" : "false", false); }
  bool number_integer(number_integer_t value) { return scalar(std::to_string(value), false); }
  bool number_unsigned(number_unsigned_t value) { return scalar(std::to_string(value), false); }
  bool number_float(number_float_t, const string_t& text) { return scalar(text, false); }
  bool string(string_t& text) { return scalar(std::move(text), true); }
  bool binary(binary_t&) { return refuse("binary data"); }
  bool start_object(std::size_t) { return begin(YamlNode::Kind::kMap); }
  bool start_array(std::size_t) { return begin(YamlNode::Kind::kSequence); }
  bool end_object() { return end(); }
  bool end_array() { return end(); }
  bool key(string_t& text) {
    if (skipping_ == 0) {
      open_.back().keys.push_back({std::move(text), 1});
    }
    return true;
  }
  bool parse_error(std::size_t offset, const std::string&, const nlohmann::detail::exception&) {
    return refuse("not valid JSON at byte " + std::to_string(offset));
  }

  [[nodiscard]] YamlNode take() { return std::move(root_); }
  [[nodiscard]] const std::string& why() const { return why_; }

 private:
  static YamlNode node_of(YamlNode::Kind kind) {
    YamlNode node;
    node.kind = kind;
    node.line = 1;
    return node;
  }
  bool refuse(std::string why) {
    why_ = std::move(why);
    return false;
  }
  // Whether the next value belongs to the skipped key.
  [[nodiscard]] bool is_skipped() const {
    return !bounds_.skipped_key.empty() && !open_.empty() && open_.back().kind == YamlNode::Kind::kMap &&
           open_.back().keys.back().text == bounds_.skipped_key;
  }
  bool scalar(std::string text, bool quoted) {
    if (skipping_ > 0) {
      return true;
    }
    YamlNode node = node_of(YamlNode::Kind::kScalar);
    node.text = std::move(text);
    node.quoted = quoted;
    return finish(std::move(node));
  }
  bool begin(YamlNode::Kind kind) {
    if (skipping_ == 0 && kind == YamlNode::Kind::kSequence && is_skipped()) {
      open_.back().keys.pop_back();
      skipping_ = 1;
      return true;
    }
    if (skipping_ > 0) {
      return ++skipping_ + open_.size() <= bounds_.depth || refuse("nested too deeply");
    }
    open_.push_back(node_of(kind));
    return open_.size() <= bounds_.depth || refuse("nested too deeply");
  }
  bool end() {
    if (skipping_ > 0) {
      --skipping_;
      return true;
    }
    YamlNode closed = std::move(open_.back());
    open_.pop_back();
    return finish(std::move(closed));
  }
  bool finish(YamlNode node) {
    if (skipping_ > 0) {
      return true;
    }
    if (++nodes_ > bounds_.nodes) {
      return refuse("too many values");
    }
    if (open_.empty()) {
      root_ = std::move(node);
    } else {
      open_.back().items.push_back(std::move(node));
    }
    return true;
  }

  JsonBounds bounds_;
  YamlNode root_;
  std::vector<YamlNode> open_;
  std::size_t skipping_ = 0, nodes_ = 0;
  std::string why_;
};

}  // namespace

std::variant<YamlNode, YamlError> parse_json(std::string_view text, const JsonBounds& bounds) {
  TreeBuilder builder(bounds);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return YamlError{1, builder.why().empty() ? "not valid JSON" : builder.why(), "send well-formed JSON"};
  }
  return builder.take();
}

}  // namespace isthmus
