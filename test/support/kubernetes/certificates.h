// Keys and certificates for tests: a certificate authority and the certificates it signs. Created anew by every test
// program; P-256, valid for a day. Failures abort the test.
#pragma once

#include <memory>
#include <string>

namespace isthmus {

struct KeyPair {
  std::string certificate, key;  // PEM
};

class CertificateAuthority {
 public:
  // Signed by `issuer`, or by itself.
  explicit CertificateAuthority(const std::string& name, const CertificateAuthority* issuer = nullptr);
  ~CertificateAuthority();
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  [[nodiscard]] const std::string& certificate() const { return own_.certificate; }
  // `alternative_names` in the syntax of openssl.cnf: "IP:127.0.0.1,DNS:api.test"; empty: a client certificate.
  [[nodiscard]] KeyPair sign(const std::string& name, const std::string& alternative_names) const;

 private:
  struct Keys;
  std::unique_ptr<Keys> keys_;
  KeyPair own_;
};

}  // namespace isthmus
