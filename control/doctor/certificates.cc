#include "control/doctor/certificates.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

#include "control/source/etcd/client_config.h"

namespace isthmus {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

Bio bio_of(const std::string& pem) { return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free}; }

std::int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

}  // namespace

CertificateFacts read_certificate(const std::string& what, const std::string& pem, const std::string& key) {
  CertificateFacts facts;
  facts.what = what;
  const Bio bio = bio_of(pem);
  const std::unique_ptr<X509, decltype(&X509_free)> x509(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                                         X509_free);
  if (x509 == nullptr) {
    facts.problem = certificate_error(pem);
    return facts;
  }
  facts.not_before = seconds_of(X509_get0_notBefore(x509.get()));
  facts.not_after = seconds_of(X509_get0_notAfter(x509.get()));
  if (!key.empty()) {
    const Bio key_bio = bio_of(key);
    // A key with a passphrase is none that the gateway can use, and must not be asked for here.
    const auto no_passphrase = [](char*, int, int, void*) { return -1; };
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> own(
        PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free);
    facts.key_matches = own != nullptr && X509_check_private_key(x509.get(), own.get()) == 1;
  }
  return facts;
}

}  // namespace isthmus
