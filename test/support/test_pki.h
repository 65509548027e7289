// Keys and certificates for tests: a certificate authority and what it signs. PEM text, in memory only.
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
  // Valid from an hour ago until `valid` from now; negative: expired.
  [[nodiscard]] TestCertificate client(const std::string& common_name,
                                       std::chrono::seconds valid = std::chrono::hours(1)) const;

 private:
  struct Authority;
  std::unique_ptr<Authority> authority_;
  std::string ca_;
};

}  // namespace isthmus
