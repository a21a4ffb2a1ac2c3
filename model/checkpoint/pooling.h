#ifndef LONGWAVE_MODEL_CHECKPOINT_POOLING_H_
#define LONGWAVE_MODEL_CHECKPOINT_POOLING_H_

namespace longwave {

// How the vectors of a sequence's tokens become its embedding.
enum class Pooling {
  kMean,        // the mean over all tokens, special tokens included
  kFirstToken,  // the first token's vector
  kNone,        // one vector per token
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_CHECKPOINT_POOLING_H_
