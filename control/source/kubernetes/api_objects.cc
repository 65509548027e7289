#include "control/source/kubernetes/api_objects.h"

#include "control/source/kubernetes/api_text.h"

namespace isthmus {

std::string object_name(const YamlNode& object) {
  const std::string& ns = metadata_text(object, "namespace");
  const std::string& name = metadata_text(object, "name");
  return name.empty() || ns.empty() ? name : ns + "/" + name;
}

std::string object_url(const std::string& server, const ApiResource& resource, const std::string& version,
                       const YamlNode& object) {
  const std::string& ns = metadata_text(object, "namespace");
  const std::string base = server + (version.find('/') == std::string::npos ? "/api/" : "/apis/") + version;
  return base + (ns.empty() ? "" : "/namespaces/" + ns) + "/" + resource.plural + "/" + metadata_text(object, "name");
}

}  // namespace isthmus
