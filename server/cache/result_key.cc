#include "server/cache/result_key.h"

#include <openssl/evp.h>

#include <memory>
#include <new>
#include <vector>

namespace longwave {
namespace {

// Everything but the ids, in a fixed layout: no two different headers have the same bytes, because
// the name comes last and its length is part of it.
std::vector<uint8_t> Header(absl::string_view model, int64_t version, const RunItem& item) {
  const bool encode = item.task == Task::kEncode;
  const int64_t fields[] = {
      version,
      static_cast<int64_t>(item.task),
      encode ? static_cast<int64_t>(item.pooling) : 0,
      encode ? static_cast<int64_t>(item.normalize) : 0,
      encode ? 0 : static_cast<int64_t>(item.head),
      static_cast<int64_t>(item.tokens.size()),
      static_cast<int64_t>(model.size()),
  };
  const auto* bytes = reinterpret_cast<const uint8_t*>(fields);
  std::vector<uint8_t> header(bytes, bytes + sizeof(fields));
  header.insert(header.end(), model.begin(), model.end());
  return header;
}

}  // namespace

ResultKey MakeResultKey(absl::string_view model, int64_t version, const RunItem& item) {
  // OpenSSL looks an algorithm up by name unless it is given one that was fetched.
  static EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const std::vector<uint8_t> header = Header(model, version, item);
  ResultKey key;
  key.tokens = static_cast<int64_t>(item.tokens.size());
  const bool ok = EVP_DigestInit_ex(context.get(), sha256, nullptr) == 1 &&
                  EVP_DigestUpdate(context.get(), header.data(), header.size()) == 1 &&
                  EVP_DigestUpdate(context.get(), item.tokens.data(),
                                   item.tokens.size() * sizeof(int32_t)) == 1 &&
                  EVP_DigestFinal_ex(context.get(), key.digest.data(), nullptr) == 1;
  if (!ok) throw std::bad_alloc();  // nothing else can fail
  return key;
}

}  // namespace longwave
