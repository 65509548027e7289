#include "test/support/test_pki.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdexcept>

namespace isthmus {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

void require(bool condition) {
  if (!condition) {
    throw std::runtime_error("libcrypto cannot create a certificate");
  }
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  require(key != nullptr);
  return key;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  require(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
  require(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_of(bio.get());
}

void extend(X509* certificate, int what, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value);
  require(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

struct Request {
  std::string name;
  std::chrono::seconds valid;
  const char* alternatives;  // null: none
  bool authority;
};

Certificate make_certificate(EVP_PKEY* key, const Request& request, X509* issuer, EVP_PKEY* issuer_key) {
  static long serial = 1;
  Certificate certificate(X509_new(), X509_free);
  X509* const x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), static_cast<long>(request.valid.count()));
  X509_set_pubkey(x, key);
  X509_NAME* const name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(request.name.c_str()), -1,
                             -1, 0);
  X509_set_issuer_name(x, issuer == nullptr ? name : X509_get_subject_name(issuer));
  extend(x, NID_basic_constraints, request.authority ? "critical,CA:TRUE" : "CA:FALSE");
  if (request.authority) {
    extend(x, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    extend(x, NID_ext_key_usage, "serverAuth,clientAuth");
  }
  if (request.alternatives != nullptr) {
    extend(x, NID_subject_alt_name, request.alternatives);
  }
  require(X509_sign(x, issuer_key, EVP_sha256()) > 0);
  return certificate;
}

}  // namespace

struct TestPki::Authority {
  Key key = make_key();
  Certificate certificate =
      make_certificate(key.get(), {"test authority", std::chrono::hours(1), nullptr, true}, nullptr, key.get());
  [[nodiscard]] TestCertificate sign(const Request& request) const {
    const Key subject = make_key();
    const Certificate certificate_of_subject = make_certificate(subject.get(), request, certificate.get(), key.get());
    return {pem_of(certificate_of_subject.get()), pem_of(subject.get())};
  }
};

TestPki::TestPki() : authority_(std::make_unique<Authority>()), ca_(pem_of(authority_->certificate.get())) {}

TestPki::~TestPki() = default;

TestCertificate TestPki::server() const {
  return authority_->sign(
      {"clustermesh-apiserver.cilium.io", std::chrono::hours(1), "IP:127.0.0.1,DNS:localhost", false});
}

TestCertificate TestPki::client(const std::string& common_name, std::chrono::seconds valid) const {
  return authority_->sign({common_name, valid, nullptr, false});
}

}  // namespace isthmus
