// Runs a fuzz target over its corpus without libFuzzer: every file, prefixes of it, and copies with single bytes
// changed; with --as-they-are, before the directories, the files alone. Built by every compiler, so that inputs found
// by a fuzzer become regression tests.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

void run_variations(const std::string& text) {
  run(text);
  // About 50 prefixes and 350 changed copies per file, at evenly spaced offsets.
  const std::size_t step = std::max<std::size_t>(1, text.size() / 50);
  for (std::size_t at = 0; at < text.size(); at += step) {
    run(text.substr(0, at));
    for (const char c : {'\0', '\n', '-', '{', '"', '&', '\x80'}) {
      std::string changed = text;
      changed[at] = c;
      run(changed);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  const bool as_they_are = argc > 1 && std::string_view(argv[1]) == "--as-they-are";
  for (int i = as_they_are ? 2 : 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      files.push_back(entry.path());
    }
  }
  for (const auto& path : files) {
    std::ifstream in(path, std::ios::binary);
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    as_they_are ? run(text) : run_variations(text);
  }
  if (files.empty()) {
    std::fputs("no corpus\n", stderr);
  }
  return files.empty() ? 1 : 0;
}
