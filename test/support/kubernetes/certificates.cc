#include "test/support/kubernetes/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>

namespace isthmus {
namespace {

constexpr long kDay = 24L * 3600;

void check(bool good) {
  if (!good) {
    std::fputs("cannot create a test certificate\n", stderr);
    std::abort();
  }
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(bytes));
  BIO_free(bio);
  return text;
}

void add_extension(X509* certificate, X509* issuer, int number, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, number, value.c_str());
  check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* make_certificate(const std::string& name, EVP_PKEY* key) {
  static long serial = 1;
  X509* certificate = X509_new();
  check(certificate != nullptr && X509_set_version(certificate, 2) == 1);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate), kDay);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

KeyPair pem_of(X509* certificate, EVP_PKEY* key) {
  BIO* first = BIO_new(BIO_s_mem());
  BIO* second = BIO_new(BIO_s_mem());
  check(PEM_write_bio_X509(first, certificate) == 1);
  check(PEM_write_bio_PKCS8PrivateKey(second, key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return {text_of(first), text_of(second)};
}

}  // namespace

struct CertificateAuthority::Keys {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

CertificateAuthority::CertificateAuthority(const std::string& name, const CertificateAuthority* issuer)
    : keys_(std::make_unique<Keys>()) {
  const Keys& by = issuer == nullptr ? *keys_ : *issuer->keys_;
  keys_->key = EVP_EC_gen("P-256");
  check(keys_->key != nullptr);
  keys_->certificate = make_certificate(name, keys_->key);
  X509_set_issuer_name(keys_->certificate, X509_get_subject_name(by.certificate));
  add_extension(keys_->certificate, by.certificate, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(keys_->certificate, by.certificate, NID_key_usage, "critical,keyCertSign");
  check(X509_sign(keys_->certificate, by.key, EVP_sha256()) > 0);
  own_ = pem_of(keys_->certificate, keys_->key);
}

CertificateAuthority::~CertificateAuthority() {
  X509_free(keys_->certificate);
  EVP_PKEY_free(keys_->key);
}

KeyPair CertificateAuthority::sign(const std::string& name, const std::string& alternative_names) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  check(key != nullptr);
  X509* certificate = make_certificate(name, key);
  X509_set_issuer_name(certificate, X509_get_subject_name(keys_->certificate));
  if (!alternative_names.empty()) {
    add_extension(certificate, keys_->certificate, NID_subject_alt_name, alternative_names);
  }
  add_extension(certificate, keys_->certificate, NID_ext_key_usage,
                alternative_names.empty() ? "clientAuth" : "serverAuth");
  check(X509_sign(certificate, keys_->key, EVP_sha256()) > 0);
  KeyPair pair = pem_of(certificate, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return pair;
}

}  // namespace isthmus
