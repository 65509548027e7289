#include "control/source/file/hub_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string pod(const std::string& name, const std::string& address) {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nstatus: {podIP: " + address + "}\n";
}

// "+pod 10.1.0.1" and "-pod" for each delta.
std::vector<std::string> deltas(HubObjects& hub) {
  std::vector<std::string> out;
  for (const ObjectDelta& delta : hub.take_deltas()) {
    if (!delta.value) {
      out.push_back("-" + delta.key.name);
    } else if (const auto* value = std::get_if<PodObject>(&*delta.value)) {
      out.push_back("+" + delta.key.name + (value->addresses.empty() ? "" : " " + value->addresses[0].to_string()));
    } else {
      out.push_back("+" + delta.key.name);
    }
  }
  return out;
}

std::vector<std::string> problems(const HubObjects& hub) {
  std::vector<std::string> out;
  for (const SourceProblem& problem : hub.problems()) {
    EXPECT_FALSE(problem.fix.empty());
    out.push_back(problem.provenance.text() + ": " + problem.what);
  }
  return out;
}

TEST(HubObjects, OnlyChangedObjectsAreDeltas) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1") + pod("b", "10.1.0.2"));
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.1", "+b 10.1.0.2"));
  hub.set_text("f", "east", pod("b", "10.1.0.2") + "# a comment\n" + pod("a", "10.1.0.3"));
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.3"));
  hub.set_text("f", "east", pod("a", "10.1.0.3"));
  EXPECT_THAT(deltas(hub), ElementsAre("-b"));
  hub.remove("f");
  EXPECT_THAT(deltas(hub), ElementsAre("-a"));
  EXPECT_THAT(deltas(hub), IsEmpty());
}

TEST(HubObjects, RemovalsComeFirstDependantsBeforeTheirNamespace) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
  EXPECT_THAT(deltas(hub), ElementsAre("+shop", "+a 10.1.0.1"));
  hub.set_text("f", "east", pod("b", "10.1.0.1"));
  EXPECT_THAT(deltas(hub), ElementsAre("-a", "-shop", "+b 10.1.0.1"));
}

TEST(HubObjects, AnInvalidDocumentKeepsItsLastValidVersionAndTheOthersApply) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1") + pod("b", "10.1.0.2"));
  (void)deltas(hub);
  hub.set_text("f", "east", pod("a", "nowhere") + pod("b", "10.1.0.9"));
  EXPECT_THAT(deltas(hub), ElementsAre("+b 10.1.0.9"));
  EXPECT_THAT(problems(hub), ElementsAre("f:5: status.podIP is \"nowhere\", not an IP address; the previous version "
                                         "stays in force"));
  hub.set_text("f", "east", pod("a", "10.1.0.1") + pod("b", "10.1.0.9"));
  EXPECT_THAT(deltas(hub), IsEmpty());
  EXPECT_THAT(problems(hub), IsEmpty());
}

TEST(HubObjects, AnInvalidDocumentWithoutAPreviousVersionIsOnlyAProblem) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "nowhere"));
  EXPECT_THAT(deltas(hub), IsEmpty());
  EXPECT_THAT(problems(hub), ElementsAre("f:5: status.podIP is \"nowhere\", not an IP address"));
  hub.set_text("f", "east", pod("b", "10.1.0.2"));
  EXPECT_THAT(deltas(hub), ElementsAre("+b 10.1.0.2"));
}

TEST(HubObjects, AnInvalidDocumentKeepsItsObjectWhenItsFileIsRenamed) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1"));
  (void)deltas(hub);
  hub.set_text("f", "east", pod("a", "nowhere"));
  (void)deltas(hub);
  hub.remove("f");
  hub.set_text("g", "east", pod("a", "nowhere"));
  EXPECT_THAT(deltas(hub), IsEmpty());
  hub.remove("g");
  EXPECT_THAT(deltas(hub), ElementsAre("-a"));
}

TEST(HubObjects, ATruncatedFileRemovesOnlyWholeMissingDocuments) {
  const std::string a = pod("a", "10.1.0.1"), whole = a + pod("b", "10.1.0.2");
  for (std::size_t cut = a.size() + 4; cut < whole.size(); ++cut) {
    HubObjects hub;
    hub.set_text("f", "east", whole);
    (void)deltas(hub);
    hub.set_text("f", "east", whole.substr(0, cut));
    for (const std::string& delta : deltas(hub)) {
      EXPECT_NE(delta, "-a") << cut;
      EXPECT_NE(delta, "+a") << cut;
      // Truncated right after the "---" of a document, nothing shows that there was one.
      EXPECT_TRUE(delta != "-b" || whole.substr(a.size(), cut - a.size()) == "---\n") << cut;
    }
  }
}

TEST(HubObjects, ASyntaxErrorKeepsAllObjectsOfTheFile) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1") + pod("b", "10.1.0.2"));
  (void)deltas(hub);
  hub.set_text("f", "east", pod("a", "10.1.0.7") + "---\nkind: [Pod\n");
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.7"));
  EXPECT_THAT(problems(hub), ElementsAre(HasSubstr("stays in force")));
  hub.set_text("f", "east", pod("a", "10.1.0.7"));
  EXPECT_THAT(deltas(hub), ElementsAre("-b"));
}

TEST(HubObjects, AnEmptyFileKeepsItsObjectsAndReportsHowToRemoveThem) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1"));
  (void)deltas(hub);
  hub.set_text("f", "east", "\n");
  EXPECT_THAT(deltas(hub), IsEmpty());
  EXPECT_THAT(problems(hub), ElementsAre("f: the file is empty; what was read from it before stays in force"));
  hub.set_text("f", "east", "# nothing on purpose\n");
  EXPECT_THAT(deltas(hub), ElementsAre("-a"));
  EXPECT_THAT(problems(hub), IsEmpty());
}

TEST(HubObjects, AnUnreadableFileKeepsItsObjects) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1"));
  (void)deltas(hub);
  hub.set_unreadable("f", "", "the file cannot be read: Permission denied", "make it readable");
  EXPECT_THAT(deltas(hub), IsEmpty());
  EXPECT_THAT(problems(hub), ElementsAre(HasSubstr("Permission denied; what was read from it before stays in force")));
  hub.set_text("f", "east", pod("a", "10.1.0.1"));
  EXPECT_THAT(problems(hub), IsEmpty());
}

TEST(HubObjects, MovingAnObjectToAnotherFileIsNoDelta) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1"));
  (void)deltas(hub);
  hub.remove("f");
  hub.set_text("g", "east", pod("a", "10.1.0.1"));
  EXPECT_THAT(deltas(hub), IsEmpty());
  hub.set_text("f", "east", pod("a", "10.1.0.1"));
  hub.remove("g");
  EXPECT_THAT(deltas(hub), IsEmpty());
  EXPECT_THAT(problems(hub), IsEmpty());
}

TEST(HubObjects, OfTwoFilesTheFirstStaysInForceAndTheProblemNamesBoth) {
  HubObjects hub;
  hub.set_text("z", "east", pod("a", "10.1.0.1"));
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.1"));
  hub.set_text("f", "east", "\n" + pod("a", "10.1.0.2"));
  EXPECT_THAT(deltas(hub), IsEmpty());
  EXPECT_THAT(problems(hub),
              ElementsAre("f:3: Pod default/a of cluster east is also defined in z:2, which is in force"));
  hub.remove("z");
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.2"));
  EXPECT_THAT(problems(hub), IsEmpty());
}

TEST(HubObjects, ADuplicateInOneFileIsAProblemOfTheSecondLine) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "10.1.0.1") + pod("a", "10.1.0.2"));
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.1"));
  EXPECT_THAT(problems(hub),
              ElementsAre("f:7: Pod default/a of cluster east is also defined in line 2, which is in force"));
}

TEST(HubObjects, TheSameNameInTwoClustersIsTwoObjects) {
  HubObjects hub;
  hub.set_text("e", "east", pod("a", "10.1.0.1"));
  hub.set_text("w", "west", pod("a", "10.2.0.1"));
  EXPECT_THAT(deltas(hub), ElementsAre("+a 10.1.0.1", "+a 10.2.0.1"));
  EXPECT_THAT(problems(hub), IsEmpty());
}

TEST(HubObjects, ANodeAndItsCiliumNodeAreOneNode) {
  HubObjects hub;
  hub.set_text("n", "east",
               "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.1.1.0/24]}\n"
               "status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}\n");
  hub.set_text("c", "east",
               "apiVersion: cilium.io/v2\nkind: CiliumNode\nmetadata: {name: n1}\n"
               "spec: {addresses: [{type: CiliumInternalIP, ip: 10.1.1.3}]}\n");
  const auto found = hub.take_deltas();
  ASSERT_EQ(found.size(), 1u);
  const auto& node = std::get<NodeObject>(*found[0].value);
  EXPECT_THAT(node.addresses, ElementsAre(*IpAddress::parse("192.0.2.10")));
  EXPECT_THAT(node.inner, ElementsAre(*IpAddress::parse("10.1.1.3")));
  EXPECT_THAT(node.pod_prefixes, ElementsAre(*Prefix::parse("10.1.1.0/24")));
  EXPECT_THAT(hub.problems(), IsEmpty());
  hub.remove("c");
  const auto left = hub.take_deltas();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_THAT(std::get<NodeObject>(*left[0].value).addresses, ElementsAre(*IpAddress::parse("192.0.2.10")));
  hub.remove("n");
  EXPECT_THAT(deltas(hub), ElementsAre("-n1"));
}

TEST(HubObjects, ProblemsHidingReturnsOnlyProblemsThatMayConcealTheKind) {
  HubObjects hub;
  hub.set_text("f", "east", pod("a", "nowhere"));
  (void)hub.take_deltas();
  EXPECT_THAT(hub.problems_hiding({ObjectKind::kService}), IsEmpty());
  EXPECT_EQ(hub.problems_hiding({ObjectKind::kPod}).size(), 1u);
  hub.set_text("f", "east", "kind: [\n");
  (void)hub.take_deltas();
  EXPECT_EQ(hub.problems_hiding({ObjectKind::kService}).size(), 1u);
}

}  // namespace
}  // namespace isthmus
