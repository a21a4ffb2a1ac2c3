#include "tests/encoder/reference_encoder.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace longwave::testing {
namespace {

using Row = std::vector<double>;

// y = W x + b.
Row Linear(const WeightMap& weights, const std::string& name, const Row& x) {
  const FloatTensor& matrix = weights.at(name + ".weight");
  const FloatTensor& bias = weights.at(name + ".bias");
  Row y(matrix.shape[0]);
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = bias.values[i];
    for (size_t j = 0; j < x.size(); ++j) y[i] += matrix.values[i * x.size() + j] * x[j];
  }
  return y;
}

Row LayerNorm(const WeightMap& weights, const std::string& name, double eps, const Row& x) {
  const FloatTensor& gain = weights.at(name + ".weight");
  const FloatTensor& bias = weights.at(name + ".bias");
  const auto n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (const double value : x) mean += value / n;
  for (const double value : x) variance += (value - mean) * (value - mean) / n;
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(variance + eps) * gain.values[i] + bias.values[i];
  }
  return y;
}

double Gelu(HiddenActivation kind, double x) {
  if (kind == HiddenActivation::kGelu) return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

Row Add(Row a, const Row& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// phi(x) of one head; `projection` points at its [m, d] matrix.
Row Features(const AttentionConfig& config, const float* projection, Row x) {
  double norm = 0;
  for (const double value : x) norm += value * value;
  norm = config.normalize ? std::max(std::sqrt(norm), 1e-12) : 1.0;
  for (double& value : x) value *= config.scale / norm;
  double half_square = 0;
  for (const double value : x) half_square += 0.5 * value * value;
  const auto m = static_cast<double>(config.num_features);
  Row features, cosines;
  for (int64_t r = 0; r < config.num_features; ++r) {
    double dot = 0;
    for (size_t j = 0; j < x.size(); ++j) dot += projection[r * x.size() + j] * x[j];
    if (config.feature_map == FeatureMap::kPrf) {
      features.push_back(std::exp(dot - half_square) / std::sqrt(m));
    } else {
      features.push_back(std::exp(half_square) / std::sqrt(m) * std::sin(dot));
      cosines.push_back(std::exp(half_square) / std::sqrt(m) * std::cos(dot));
    }
  }
  features.insert(features.end(), cosines.begin(), cosines.end());
  return features;
}

Row Slice(const Row& x, int64_t head, int64_t width) {
  return {x.begin() + head * width, x.begin() + (head + 1) * width};
}

Matrix Attention(const ModelConfig& config, const WeightMap& weights, const std::string& layer,
                 const Matrix& x) {
  const AttentionConfig& attention = config.attention;
  const std::string prefix = layer + "attention.";
  const FloatTensor& projection =
      weights.at((attention.shared_projection ? "encoder.attention." : prefix) + "projection");
  const FloatTensor& bias =
      weights.at((attention.shared_bias ? "encoder.attention." : prefix) + "relative_bias");
  const auto n = static_cast<int64_t>(x.size());
  const int64_t d = config.head_dim();
  const int64_t reach = attention.max_distance - 1;
  Matrix context(n, Row(config.hidden_size));
  for (int64_t h = 0; h < config.num_attention_heads; ++h) {
    const int64_t matrix_size = attention.num_features * d;
    const float* matrix =
        projection.values.data() + (projection.shape.size() == 3 ? h * matrix_size : 0);
    Matrix q, k, v;
    for (const Row& row : x) {
      q.push_back(Features(attention, matrix, Slice(Linear(weights, prefix + "q", row), h, d)));
      k.push_back(Features(attention, matrix, Slice(Linear(weights, prefix + "k", row), h, d)));
      v.push_back(Slice(Linear(weights, prefix + "v", row), h, d));
    }
    for (int64_t i = 0; i < n; ++i) {
      double denominator = 0;
      Row sum(d);
      for (int64_t j = 0; j < n; ++j) {
        if (attention.causal && j > i) continue;
        const int64_t distance = std::clamp(j - i, -reach, reach);
        double weight = 0;
        for (size_t r = 0; r < q[i].size(); ++r) weight += q[i][r] * k[j][r];
        weight *= std::exp(bias.values[h * (2 * reach + 1) + reach + distance]);
        denominator += weight;
        for (int64_t c = 0; c < d; ++c) sum[c] += weight * v[j][c];
      }
      for (int64_t c = 0; c < d; ++c) context[i][h * d + c] = sum[c] / denominator;
    }
  }
  Matrix out;
  for (const Row& row : context) out.push_back(Linear(weights, prefix + "out", row));
  return out;
}

void Layer(const ModelConfig& config, const WeightMap& weights, const std::string& layer,
           Matrix& x) {
  const bool pre = config.norm_position == NormPosition::kPre;
  const auto norm = [&](const char* name, const Row& row) {
    return LayerNorm(weights, layer + name, config.layer_norm_eps, row);
  };
  Matrix input = x;
  if (pre) {
    for (Row& row : input) row = norm("attention_norm", row);
  }
  const Matrix attended = Attention(config, weights, layer, input);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = Add(x[i], attended[i]);
    if (!pre) x[i] = norm("attention_norm", x[i]);
    Row hidden = Linear(weights, layer + "mlp.in", pre ? norm("mlp_norm", x[i]) : x[i]);
    for (double& value : hidden) value = Gelu(config.hidden_act, value);
    x[i] = Add(x[i], Linear(weights, layer + "mlp.out", hidden));
    if (!pre) x[i] = norm("mlp_norm", x[i]);
  }
}

Row TableRow(const FloatTensor& table, int64_t row) {
  const int64_t width = table.shape[1];
  return {table.values.begin() + row * width, table.values.begin() + (row + 1) * width};
}

}  // namespace

Matrix ReferenceForward(const ModelConfig& config, const WeightMap& weights,
                        const std::vector<int32_t>& ids) {
  Matrix x;
  for (size_t i = 0; i < ids.size(); ++i) {
    x.push_back(TableRow(weights.at("encoder.embeddings.token.weight"), ids[i]));
    if (config.max_position_embeddings > 0) {
      x[i] = Add(x[i], TableRow(weights.at("encoder.embeddings.position.weight"),
                                static_cast<int64_t>(i)));
    }
    if (config.embedding_norm) {
      x[i] = LayerNorm(weights, "encoder.embeddings.norm", config.layer_norm_eps, x[i]);
    }
  }
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    Layer(config, weights, "encoder.layers." + std::to_string(layer) + ".", x);
  }
  if (config.norm_position == NormPosition::kPre) {
    for (Row& row : x) row = LayerNorm(weights, "encoder.final_norm", config.layer_norm_eps, row);
  }
  return x;
}

std::vector<double> ReferenceLogits(const HeadConfig& head, const WeightMap& weights,
                                    const std::vector<double>& pooled) {
  const std::string prefix = "heads." + head.name + ".";
  Row x = pooled;
  if (head.dense) {
    x = Linear(weights, prefix + "dense", x);
    for (double& value : x) value = std::tanh(value);
  }
  return Linear(weights, prefix + "out", x);
}

}  // namespace longwave::testing
