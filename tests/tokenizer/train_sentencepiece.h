#ifndef LONGWAVE_TESTS_TOKENIZER_TRAIN_SENTENCEPIECE_H_
#define LONGWAVE_TESTS_TOKENIZER_TRAIN_SENTENCEPIECE_H_

#include <string>

namespace longwave::testing {

// Trains a unigram model of at most `vocab_size` pieces, byte fallback included, on the lines of
// `text_file`, and returns it serialised; throws std::runtime_error. In a source of its own: the
// library's header clashes with Abseil's.
std::string TrainSentencePiece(const std::string& text_file, int vocab_size);

}  // namespace longwave::testing

#endif  // LONGWAVE_TESTS_TOKENIZER_TRAIN_SENTENCEPIECE_H_
