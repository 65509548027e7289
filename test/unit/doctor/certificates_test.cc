#include "control/doctor/certificates.h"

#include <gtest/gtest.h>

#include <ctime>

#include "test/support/test_pki.h"

namespace isthmus::test {
namespace {

constexpr std::int64_t kHour = 3600;

TEST(Certificates, DatesAndKeyAreRead) {
  const TestPki pki;
  const TestCertificate own = pki.client("reader", std::chrono::hours(5));
  const CertificateFacts facts = read_certificate("certificate x", own.certificate, own.key);
  const std::int64_t now = std::time(nullptr);
  EXPECT_EQ(facts.what, "certificate x");
  EXPECT_EQ(facts.problem, "");
  EXPECT_NEAR(static_cast<double>(facts.not_before), static_cast<double>(now - kHour), 60);
  EXPECT_NEAR(static_cast<double>(facts.not_after), static_cast<double>(now + 5 * kHour), 60);
  EXPECT_EQ(facts.key_matches, true);
}

TEST(Certificates, AKeyOfAnotherOrNoneAtAllDoesNotMatch) {
  const TestPki pki;
  const TestCertificate own = pki.client("reader"), other = pki.client("other");
  EXPECT_EQ(read_certificate("x", own.certificate, other.key).key_matches, false);
  EXPECT_EQ(read_certificate("x", own.certificate, "nonsense").key_matches, false);
  EXPECT_EQ(read_certificate("x", own.certificate).key_matches, std::nullopt);
}

TEST(Certificates, AnyTextIsACertificateOrSaysThatItIsNone) {
  const TestPki pki;
  const std::string whole = pki.ca();
  EXPECT_EQ(read_certificate("x", whole).problem, "");
  for (const std::string& text : {std::string(), std::string("nonsense"), whole.substr(0, whole.size() / 2),
                                  std::string(1000, '\0'), whole.substr(whole.size() / 2)}) {
    EXPECT_EQ(read_certificate("x", text).problem, "is not a certificate in PEM") << text.size();
  }
}

}  // namespace
}  // namespace isthmus::test
