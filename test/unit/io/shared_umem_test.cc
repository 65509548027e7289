#include "dataplane/io/af_xdp/shared_umem.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace isthmus {
namespace {

// Sockets themselves need a driver with zero-copy, which no virtual device has.
TEST(SharedUmem, RequiredZeroCopyNeverEndsInCopyMode) {
  for (const int error : {EOPNOTSUPP, EINVAL, ENOTSUP, EBUSY, EPERM, 0}) {
    EXPECT_FALSE(copy_mode_may_help(ZeroCopy::kRequire, error)) << error;
  }
}

TEST(SharedUmem, CopyModeIsTriedAfterErrorsThatItDoesNotShare) {
  EXPECT_TRUE(copy_mode_may_help(ZeroCopy::kAuto, EOPNOTSUPP));
  EXPECT_TRUE(copy_mode_may_help(ZeroCopy::kAuto, EINVAL));
  for (const int error : {EBUSY, EPERM, 0}) {
    EXPECT_FALSE(copy_mode_may_help(ZeroCopy::kAuto, error)) << error;
  }
}

}  // namespace
}  // namespace isthmus
