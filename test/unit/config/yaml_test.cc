#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "config/yaml/read.h"
#include "config/yaml/tree.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

YamlNode tree(const std::string& text) {
  auto parsed = parse_yaml(text);
  if (auto* error = std::get_if<YamlError>(&parsed)) {
    ADD_FAILURE() << error->line << ": " << error->what;
    return {};
  }
  return std::get<YamlNode>(std::move(parsed));
}

YamlError error(const std::string& text) {
  auto parsed = parse_yaml(text);
  if (auto* found = std::get_if<YamlError>(&parsed)) {
    return *found;
  }
  ADD_FAILURE() << "no error in: " << text;
  return {};
}

TEST(YamlTree, KeepsLinesQuotesAndDuplicateKeys) {
  const YamlNode root = tree("a: 1\nb:\n  - \"2\"\n  - {c: x}\na: 3\n");
  ASSERT_EQ(root.keys.size(), 3u);
  EXPECT_EQ(root.keys[2].text, "a");
  EXPECT_EQ(root.keys[2].line, 5u);
  EXPECT_EQ(root.find("a")->text, "1");
  EXPECT_FALSE(root.find("a")->quoted);
  EXPECT_TRUE(root.find("b")->items[0].quoted);
  EXPECT_EQ(root.find("b")->items[1].find("c")->line, 4u);
  EXPECT_EQ(root.find("nothing"), nullptr);
}

TEST(YamlTree, AMissingValueHasTheLineOfItsKey) {
  const YamlNode root = tree("a:\n\n\nb:\n");
  EXPECT_EQ(root.find("a")->line, 1u);
  EXPECT_EQ(root.find("b")->line, 4u);
}

TEST(YamlTree, JsonIsYaml) {
  const YamlNode root = tree("{\"kind\": \"Pod\",\n \"spec\": {\"ports\": [80, 443], \"x\": null}}");
  EXPECT_EQ(root.find("kind")->text, "Pod");
  EXPECT_EQ(root.find("spec")->find("ports")->items[1].text, "443");
  EXPECT_EQ(root.find("spec")->find("x")->kind, YamlNode::Kind::kNull);
}

TEST(YamlTree, AnchorsAndAliasesAreCopiedWithinABound) {
  EXPECT_EQ(tree("a: &x {b: 1}\nc: *x\n").find("c")->find("b")->text, "1");
  EXPECT_THAT(error("a: &x [*x]\n").what, HasSubstr("alias"));
  std::string laughs = "a0: &a0 [l, l, l, l, l, l, l, l, l, l]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) {
      laughs += (j > 0 ? ", " : "") + before;
    }
    laughs += "]\n";
  }
  EXPECT_THAT(error(laughs).what, HasSubstr("aliases expand"));

  std::string nested, ends;
  for (int i = 0; i < 300; ++i) {
    nested += "&n" + std::to_string(i) + " [";
    ends += "]";
  }
  for (int i = 0; i < 2000; ++i) {
    nested += "l, ";
  }
  EXPECT_THAT(error("a: " + nested + ends + "\n").what, HasSubstr("anchors and aliases expand"));

  std::string texts = "a: &x " + std::string(1 << 20, 'x') + "\nb: [";
  for (int i = 0; i < 20; ++i) {
    texts += "*x, ";
  }
  EXPECT_THAT(error(texts + "]\n").what, HasSubstr("anchors and aliases expand"));
}

TEST(YamlTree, ErrorsNameTheirLine) {
  EXPECT_EQ(error("a: 1\nb: [1, 2\n").line, 2u);
  EXPECT_EQ(error("a: 0\na: \"unfinished\n").line, 2u);
  EXPECT_EQ(error("a: 1\nb: \x04 2\n").line, 2u);
  EXPECT_THAT(error("{a: 1}\nb: 2\n").what, HasSubstr("text after the end"));
  EXPECT_THAT(error("? [1, 2]\n: x\n").what, HasSubstr("a key must be a plain word"));
  EXPECT_THAT(error(std::string(5000, '[')).what, HasSubstr("nested too deeply"));
  EXPECT_EQ(error("a:\n  b:\nc: [*d]\n").line, 3u);
}

TEST(SplitDocuments, CutsAtMarksAndCountsLines) {
  const auto documents = split_documents("# head\na: 1\n---\n# only a comment\n---\nb: 2\n...\n--- {c: 3}\n");
  ASSERT_EQ(documents.size(), 3u);
  EXPECT_EQ(documents[0].first_line, 1u);
  EXPECT_EQ(documents[1].first_line, 5u);
  EXPECT_EQ(documents[2].first_line, 8u);
  const auto third = parse_yaml(documents[2].text, documents[2].first_line);
  EXPECT_EQ(std::get<YamlNode>(third).find("c")->line, 8u);
  EXPECT_TRUE(split_documents("").empty());
  EXPECT_TRUE(split_documents("%YAML 1.2\n---\n").empty());
  EXPECT_EQ(split_documents("a: |\n  text\n  ---\n---\r\nb: 1\r\n").size(), 2u);
}

TEST(Nearest, FindsTheWordThatWasMeant) {
  const std::vector<std::string_view> words{"workers", "cores", "connections"};
  EXPECT_EQ(nearest("worker", words), "workers");
  EXPECT_EQ(nearest("conections", words), "connections");
  EXPECT_EQ(nearest("banana", words), "");
  EXPECT_EQ(nearest(std::string(100'000, 'w'), words), "");
}

TEST(Names, FollowRfc1123) {
  for (const char* good : {"a", "east-1", "0", "a-b-c"}) {
    EXPECT_TRUE(is_label(good)) << good;
  }
  for (const char* bad : {"", "-a", "a-", "A", "a_b", "a.b", "\xc3\xa9"}) {
    EXPECT_FALSE(is_label(bad)) << bad;
  }
  EXPECT_TRUE(is_label(std::string(32, 'a'), kClusterNameLength));
  EXPECT_FALSE(is_label(std::string(33, 'a'), kClusterNameLength));
  EXPECT_TRUE(is_subdomain("a.b-c.d"));
  EXPECT_FALSE(is_subdomain("a..b"));
  EXPECT_FALSE(is_subdomain("a."));
}

TEST(ReadPrefix, RefusesBitsBeyondTheLength) {
  YamlErrors errors;
  EXPECT_EQ(read_prefix(tree("10.1.0.0/16"), "p", errors), Prefix::parse("10.1.0.0/16"));
  EXPECT_TRUE(errors.empty());
  for (const char* bad : {"10.1.0.1/16", "10.1.0.0", "10.1.0.0/33", "x/8", "[a]", "10.1.0.0/"}) {
    errors.clear();
    EXPECT_FALSE(read_prefix(tree(bad), "p", errors)) << bad;
    EXPECT_EQ(errors.size(), 1u) << bad;
  }
}

TEST(ReadAddress, AcceptsWhatAHostCanHave) {
  YamlErrors errors;
  EXPECT_TRUE(read_address(tree("10.1.2.3"), "a", errors));
  EXPECT_TRUE(read_address(tree("fd00::1"), "a", errors));
  for (const char* bad : {"0.0.0.0", "224.0.0.1", "'::'", "ff02::1", "'::ffff:10.0.0.1'", "10.1.2", "10.1.2.3/32"}) {
    EXPECT_FALSE(read_address(tree(bad), "a", errors)) << bad;
  }
}

TEST(Shown, IsSafeToPrint) {
  EXPECT_EQ(shown("a\x1b[1m"), "\"a\\x1b[1m\"");
  EXPECT_LT(shown(std::string(1000, 'a')).size(), 80u);
}

}  // namespace
}  // namespace isthmus
