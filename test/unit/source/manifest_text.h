// Manifests as text, read by the product's reader: the objects and errors they hold.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "control/source/manifest/manifest.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus::manifest_text {

// "line: what (fix)" for each error.
inline std::vector<std::string> errors_of(const Manifest& manifest) {
  std::vector<std::string> out;
  for (const auto& entry : manifest.documents) {
    for (const YamlError& error : entry.document->errors) {
      EXPECT_FALSE(error.fix.empty()) << error.what;
      out.push_back(std::to_string(entry.line_in_file(error.line)) + ": " + (error.warning ? "warning: " : "") +
                    error.what + " (" + error.fix + ")");
    }
  }
  return out;
}

inline std::vector<ManifestObject> objects_of(const Manifest& manifest) {
  std::vector<ManifestObject> out;
  for (const auto& entry : manifest.documents) {
    out.insert(out.end(), entry.document->objects.begin(), entry.document->objects.end());
  }
  return out;
}

// The only object of a text without errors.
template <typename T>
T read_one(const std::string& text, const std::string& cluster = "east") {
  const Manifest manifest = parse_manifest(text, cluster);
  EXPECT_THAT(errors_of(manifest), testing::IsEmpty());
  const auto objects = objects_of(manifest);
  if (objects.size() != 1 || !std::holds_alternative<T>(*objects[0].value)) {
    ADD_FAILURE() << objects.size() << " objects, or one of another kind";
    return {};
  }
  return std::get<T>(*objects[0].value);
}

inline std::string one_error(const std::string& text, const std::string& cluster = "east") {
  const Manifest manifest = parse_manifest(text, cluster);
  const auto errors = errors_of(manifest);
  EXPECT_EQ(errors.size(), 1u) << testing::PrintToString(errors);
  return errors.empty() ? "" : errors[0];
}

inline IpAddress ip(const char* text) { return *IpAddress::parse(text); }
inline Prefix prefix(const char* text) { return *Prefix::parse(text); }

inline constexpr auto kCluster = "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: east}\n";
inline constexpr auto kGateway = "apiVersion: isthmus.io/v1alpha1\nkind: Gateway\nmetadata: {name: east-1}\n";
inline constexpr auto kProfile =
    "apiVersion: isthmus.io/v1alpha1\nkind: CrossClusterNetworkProfile\nmetadata: {name: fleet}\n";

}  // namespace isthmus::manifest_text
