// A temporary folder for a test, with the kinds of writes that people, editors and Kubernetes make. Removed by the
// destructor.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace isthmus {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ist-source-XXXXXX").string();
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] std::string path(const std::string& below = "") const {
    return below.empty() ? path_.string() : (path_ / below).string();
  }
  void make(const std::string& below) const { std::filesystem::create_directories(path_ / below); }
  // In place, like a shell redirection.
  void write(const std::string& below, const std::string& text) const {
    make(std::filesystem::path(below).parent_path().string());
    std::ofstream out(path_ / below, std::ios::binary | std::ios::trunc);
    out << text;
    ASSERT_TRUE(out.good()) << below;
  }
  // To a temporary file that is renamed over it, as editors do.
  void replace(const std::string& below, const std::string& text) const {
    const auto target = path_ / below;
    const auto temporary = target.parent_path() / ("." + target.filename().string() + ".tmp");
    std::ofstream(temporary, std::ios::binary) << text;
    std::filesystem::rename(temporary, target);
  }
  void move(const std::string& from, const std::string& to) const { std::filesystem::rename(path_ / from, path_ / to); }
  void remove(const std::string& below) const { std::filesystem::remove_all(path_ / below); }
  [[nodiscard]] std::string read(const std::string& below) const {
    std::ifstream in(path_ / below, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::filesystem::path path_;
};

}  // namespace isthmus
