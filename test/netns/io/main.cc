#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (geteuid() != 0) {
    std::puts("skipped: network namespaces and AF_XDP need root");
    return kSkipped;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
