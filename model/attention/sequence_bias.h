#ifndef LONGWAVE_MODEL_ATTENTION_SEQUENCE_BIAS_H_
#define LONGWAVE_MODEL_ATTENTION_SEQUENCE_BIAS_H_

#include <cstdint>
#include <memory>

#include "model/attention/position_bias.h"
#include "model/attention/relative_bias.h"

namespace longwave::attention {

// The bias of tokens in a row: b[j - i].
class SequenceBias final : public PositionBias {
 public:
  // bias must outlive this object and what it makes.
  explicit SequenceBias(const RelativeBias& bias) : bias_(bias) {}

  std::unique_ptr<PairWeights> Pairs(int64_t head, int64_t length) const override;
  std::shared_ptr<const Convolution> Convolve(int64_t length) const override;
  int64_t TransformSize(int64_t length) const override;
  FarParts PartsOf(int64_t head, int64_t length) const override;
  double ShareOfTiles(int64_t head, int64_t length) const override;
  bool causal() const override { return bias_.causal(); }
  BiasTable Table() const override { return {bias_.table().unsqueeze(1), 0}; }
  DeviceCache& device_cache() const override { return bias_.device_cache(); }
  const PreparedHead* Structure(int64_t head, bool smooth) const override;

 private:
  const RelativeBias& bias_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_SEQUENCE_BIAS_H_
