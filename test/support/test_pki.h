// Keys and certificates for tests: an authority of their own, and whatever it signs. PEM text; nothing touches a disk.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace isthmus {

struct TestCertificate {
  std::string certificate, key;
};

class TestPki {
 public:
  TestPki();
  ~TestPki();
  TestPki(const TestPki&) = delete;
  TestPki& operator=(const TestPki&) = delete;

  [[nodiscard]] const std::string& ca() const { return ca_; }
  // For 127.0.0.1 and localhost.
  [[nodiscard]] TestCertificate server() const;
  // Valid from an hour ago until then; a negative time makes one that is past.
  [[nodiscard]] TestCertificate client(const std::string& common_name,
                                       std::chrono::seconds valid = std::chrono::hours(1)) const;

 private:
  struct Authority;
  std::unique_ptr<Authority> authority_;
  std::string ca_;
};

}  // namespace isthmus
