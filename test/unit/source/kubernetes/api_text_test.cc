// Parsing of what an API server sends: frames split anywhere, events, lists, Status objects.
#include "control/source/kubernetes/api_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/yaml/base64.h"
#include "config/yaml/json.h"
#include "control/source/kubernetes/exec_credential.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> frames(const std::string& text, std::size_t chunk, bool& good) {
  JsonFrames splitter(1 << 20);
  std::vector<std::string> out;
  good = true;
  for (std::size_t at = 0; at < text.size() && good; at += chunk) {
    good = splitter.push(std::string_view(text).substr(at, chunk), [&](std::string_view frame) {
      out.emplace_back(frame);
      return true;
    });
  }
  return out;
}

TEST(JsonFramesTest, SplitsAStreamHoweverItIsChunked) {
  const std::string text = "{\"a\":{\"b\":[1,{}]}}\n{\"t\":\"}\\\"{\\\\\"}{\"c\":1}\r\n\n {}\n{\"unfinished\":";
  for (std::size_t chunk = 1; chunk <= text.size(); ++chunk) {
    bool good = false;
    EXPECT_THAT(frames(text, chunk, good),
                ElementsAre("{\"a\":{\"b\":[1,{}]}}", "{\"t\":\"}\\\"{\\\\\"}", "{\"c\":1}", "{}"))
        << chunk;
    EXPECT_TRUE(good);
  }
}

TEST(JsonFramesTest, RejectsNonObjectsAndObjectsThatAreTooLong) {
  bool good = true;
  EXPECT_THAT(frames("{}<html>", 3, good), ElementsAre("{}"));
  EXPECT_FALSE(good);
  (void)frames("{\"a\":\"" + std::string(2 << 20, 'x'), 4096, good);
  EXPECT_FALSE(good);
}

TEST(JsonFramesTest, StopsWhenTheCallbackReturnsFalse) {
  JsonFrames splitter;
  int seen = 0;
  EXPECT_TRUE(splitter.push("{}{}{}", [&](std::string_view) { return ++seen < 2; }));
  EXPECT_EQ(seen, 2);
}

TEST(WatchEventTest, ReadsEveryType) {
  const auto added = read_watch_event(
      R"({"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"p","resourceVersion":"17","managedFields":[{"a":1}]}}})");
  ASSERT_TRUE(added);
  EXPECT_EQ(added->type, WatchEvent::Type::kAdded);
  EXPECT_EQ(added->resource_version, "17");
  EXPECT_EQ(added->object.find("metadata")->find("managedFields"), nullptr);
  const auto bookmark = read_watch_event(
      R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}})");
  ASSERT_TRUE(bookmark);
  EXPECT_TRUE(bookmark->initial_events_end);
  const auto error = read_watch_event(R"({"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}})");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, 410U);
  EXPECT_EQ(error->message, "too old");
}

TEST(WatchEventTest, RejectsInvalidEvents) {
  for (const char* text : {"", "[]", "{}", R"({"type":"ADDED"})", R"({"type":"ADDED","object":7})",
                           R"({"type":"NEW","object":{}})", R"({"type":"ADDED","object":{})"}) {
    EXPECT_FALSE(read_watch_event(text)) << text;
  }
}

TEST(ListPageTest, ReadsItemsResourceVersionAndContinueToken) {
  const auto page = read_list_page(
      R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5","continue":"abc"},"items":[{"metadata":{"name":"p"}}]})");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->resource_version, "5");
  EXPECT_EQ(page->next, "abc");
  EXPECT_EQ(page->items().size(), 1U);
  EXPECT_TRUE(read_list_page(R"({"kind":"PodList","metadata":{"resourceVersion":"5"},"items":null})"));
  EXPECT_FALSE(read_list_page(R"({"kind":"PodList","metadata":{},"items":[]})"));
  EXPECT_FALSE(read_list_page(R"({"kind":"Pod","metadata":{"resourceVersion":"5"}})"));
  EXPECT_FALSE(read_list_page("<html>"));
}

TEST(StatusTest, TheMessageIsOneLine) {
  EXPECT_EQ(status_message(R"({"kind":"Status","message":"no\nway"})"), "no way");
  EXPECT_EQ(status_message("<html>\n"), "<html> ");
}

TEST(PercentEncodingTest, KeepsOnlyUnreservedCharacters) {
  EXPECT_EQ(percent_encoded("aZ0-._~=&/é"), "aZ0-._~%3D%26%2F%C3%A9");
}

TEST(JsonTreeTest, EqualsTheTreeOfTheSameYaml) {
  const std::string text = R"({"a": "text", "b": [1, -2, 2.50, true, null], "c": {"d": "", "e": "\u00e9\n"}, "a": {}})";
  const auto tree = std::get<YamlNode>(parse_json(text));
  EXPECT_EQ(tree.kind, YamlNode::Kind::kMap);
  EXPECT_EQ(tree.keys.size(), 4U);
  EXPECT_TRUE(tree.find("a")->quoted);
  const auto& list = tree.find("b")->items;
  ASSERT_EQ(list.size(), 5U);
  EXPECT_EQ(list[0].text, "1");
  EXPECT_FALSE(list[0].quoted);
  EXPECT_EQ(list[1].text, "-2");
  EXPECT_EQ(list[2].text, "2.50");
  EXPECT_EQ(list[3].text, "true");
  EXPECT_EQ(list[4].kind, YamlNode::Kind::kNull);
  EXPECT_EQ(tree.find("c")->find("e")->text, "\u00e9\n");
}

TEST(JsonTreeTest, SkipsOnlyListsUnderTheSkippedKey) {
  const auto tree = std::get<YamlNode>(
      parse_json(R"({"skip": [{"skip": [1]}, 2], "a": {"skip": "text", "b": [3]}})", JsonBounds{64, 100, "skip"}));
  EXPECT_EQ(tree.find("skip"), nullptr);
  EXPECT_EQ(tree.find("a")->find("skip")->text, "text");
  EXPECT_EQ(tree.find("a")->find("b")->items.size(), 1U);
}

TEST(JsonTreeTest, RejectsInvalidJsonAndJsonBeyondItsBounds) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("{} {}"), std::string("{'a':1}"),
                                  std::string("{\"a\":\"\xff\"}"), std::string(100, '[') + std::string(100, ']'),
                                  "{\"managedFields\":" + std::string(100, '[') + std::string(100, ']') + "}"}) {
    EXPECT_TRUE(std::holds_alternative<YamlError>(parse_json(text, {64, 1000, "managedFields"}))) << text;
  }
  EXPECT_TRUE(std::holds_alternative<YamlError>(parse_json("[1,2,3,4]", {64, 3, {}})));
}

TEST(Base64Test, DecodesWhatItEncodes) {
  for (const std::string text : {"", "a", "ab", "abc", "abcd\n\xff"}) {
    EXPECT_EQ(decode_base64(encode_base64(text)), text);
  }
  EXPECT_EQ(decode_base64("YW\nJj "), "abc");
  for (const char* bad : {"YQ", "Y", "Y===", "YQ=a", "Y*=="}) {
    EXPECT_FALSE(decode_base64(bad)) << bad;
  }
}

TEST(ExecCredentialTest, ReadsATokenItsExpiryAndACertificate) {
  const auto token = read_exec_credential(
      R"({"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2026-03-02T10:00:00Z"}})");
  ASSERT_TRUE(token);
  EXPECT_EQ(token->token, "t");
  EXPECT_EQ(token->expires, 1772445600);
  EXPECT_TRUE(
      read_exec_credential(R"({"kind":"ExecCredential","status":{"clientCertificateData":"c","clientKeyData":"k"}})"));
}

TEST(ExecCredentialTest, ErrorsSayWhatIsWrong) {
  for (const auto& [text, why] : std::map<std::string, std::string>{
           {"no", "not valid JSON"},
           {R"({"kind":"ExecCredential","status":{}})", "no credentials"},
           {R"({"kind":"Other","status":{"token":"t"}})", "no credentials"},
           {R"({"kind":"ExecCredential","status":{"clientCertificateData":"c"}})", "without its key"},
           {R"({"kind":"ExecCredential","status":{"token":"a\nb"}})", "more than one line"},
           {R"({"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"soon"}})", "not a valid time"}}) {
    const auto read = read_exec_credential(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().what, HasSubstr(why));
  }
}

}  // namespace
}  // namespace isthmus
