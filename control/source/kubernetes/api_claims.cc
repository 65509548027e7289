#include "control/source/kubernetes/api_claims.h"

#include <algorithm>
#include <utility>

#include "control/source/kubernetes/api_text.h"
#include "control/source/manifest/manifest.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

// What parses is taken, even where no host can have it.
void add_address(const YamlNode& word, const std::string& path, WrittenClaim& claim) {
  (void)read_address(word, path, claim.errors);
  if (const auto address = IpAddress::parse(word.text)) {
    append_once(claim.addresses, *address);
  }
}

}  // namespace

std::optional<std::string> annotation_text(const YamlNode& object, const char* name) {
  YamlErrors ignored;
  const YamlMap all = YamlMap(&object, "", object.line, ignored).map("metadata").map("annotations");
  return all.get(name) == nullptr ? std::nullopt : std::optional(all.text(name));
}

WrittenClaim service_claim(const YamlNode& service) {
  WrittenClaim claim;
  const auto text = annotation_text(service, kVipAnnotation);
  for (const std::string_view each : text ? claim_words(*text) : std::vector<std::string_view>()) {
    YamlNode word;
    word.kind = YamlNode::Kind::kScalar;
    word.text = each;
    add_address(word, std::string("annotation ") + kVipAnnotation, claim);
  }
  return claim;
}

WrittenClaim import_claim(const YamlNode& import) {
  WrittenClaim claim;
  const YamlMap spec = YamlMap(&import, "", import.line, claim.errors).map("spec");
  for (const YamlNode& item : spec.list("ips")) {
    add_address(item, "spec.ips", claim);
  }
  return claim;
}

Status list_fleet(ApiCaller& server, const std::string& server_name, const char* kind, const std::string& plural,
                  const std::function<void(const ObjectDelta&, const YamlNode&)>& visit) {
  constexpr const char* kVersion = "isthmus.io/v1alpha1";
  Status good = Ok{};
  const std::string path = std::string("/apis/") + kVersion + "/" + plural;
  const Status listed = server.list(path, plural + " of isthmus.io", true, [&](const YamlNode& object) {
    ManifestDocument document;
    read_manifest_tree(object, {}, kVersion, kind, document);
    if (!document.invalid.empty() || document.unreadable) {
      const auto error = std::find_if(document.errors.begin(), document.errors.end(),
                                      [](const YamlError& each) { return !each.warning; });
      good = Error{std::string(kind) + " " + shown(metadata_text(object, "name")) + " cannot be read" +
                       (error == document.errors.end() ? std::string() : ": " + error->what) +
                       "; it may have addresses of the pools",
                   server_name + path, error == document.errors.end() ? "correct it" : error->fix};
    }
    for (const ManifestObject& read : document.objects) {
      visit({read.key.object, *read.value, {server_name + path + "/" + read.key.object.name, 0}}, object);
    }
  });
  return listed ? good : listed;
}

}  // namespace isthmus
