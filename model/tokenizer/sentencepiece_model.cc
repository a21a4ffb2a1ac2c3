#include "model/tokenizer/sentencepiece_model.h"

#include <dlfcn.h>

namespace longwave {
namespace {

using LoadFunction = SentencePieceModel* (*)(const std::string*, std::string*);

// Found by the run path of the program, or by LD_LIBRARY_PATH. Stays loaded.
LoadFunction FindLoadFunction(std::string* error) {
  void* const library = dlopen("liblongwave_sentencepiece.so", LONGWAVE_SENTENCEPIECE_DLOPEN_FLAGS);
  void* const function =
      library == nullptr ? nullptr : dlsym(library, "longwave_sentencepiece_load");
  if (function == nullptr) *error = dlerror();
  return reinterpret_cast<LoadFunction>(function);
}

}  // namespace

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(const std::string& serialized,
                                                             std::string* error) {
  const LoadFunction load = FindLoadFunction(error);
  if (load == nullptr) return nullptr;
  return std::unique_ptr<SentencePieceModel>(load(&serialized, error));
}

}  // namespace longwave
