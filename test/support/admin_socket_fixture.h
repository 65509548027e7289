// The fixture of tests with an admin socket: a temporary folder for it, which this process's group may use.
#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "control/admin/server.h"

namespace isthmus {

class AdminSocketFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ist-admin-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    options_.path = folder_ + "/gw.sock";
    const group* own = ::getgrgid(::getegid());
    ASSERT_NE(own, nullptr);
    options_.group = own->gr_name;
  }
  // After what uses the socket has ended.
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
  AdminOptions options_;
};

}  // namespace isthmus
