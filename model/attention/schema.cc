// The operators' names and schemas, and their kernels of sequence_attention.cc and grid_attention.cc
// (CPU) and meta.cc (Meta). A library for another device registers its own: cuda/register.cc.
#include <torch/custom_class.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "model/attention/kernels.h"
#include "model/attention/plan_attention.h"
#include "model/attention/relative_bias.h"
#include "model/attention/relative_bias_2d.h"

namespace longwave::attention {
namespace {

using State = std::tuple<at::Tensor, std::tuple<std::string, bool>, std::tuple<int64_t, double>>;

State GetState(const c10::intrusive_ptr<RelativeBias>& self) {
  return {
      self->table(), {self->feature_map(), self->causal()}, {self->max_len(), self->tolerance()}};
}

c10::intrusive_ptr<RelativeBias> SetState(const State& state) {
  const auto& [table, kind, analysis] = state;
  return c10::make_intrusive<RelativeBias>(table, std::get<0>(kind), std::get<1>(kind),
                                           std::get<0>(analysis), std::get<1>(analysis));
}

using State2d = std::tuple<at::Tensor, std::vector<int64_t>, std::tuple<std::string, double>>;

State2d GetState2d(const c10::intrusive_ptr<RelativeBias2d>& self) {
  return {self->table(), self->grid(), {self->feature_map(), self->tolerance()}};
}

c10::intrusive_ptr<RelativeBias2d> SetState2d(const State2d& state) {
  const auto& [table, grid, analysis] = state;
  return c10::make_intrusive<RelativeBias2d>(table, grid, std::get<0>(analysis),
                                             std::get<1>(analysis));
}

}  // namespace

TORCH_LIBRARY(longwave, m) {
  m.class_<RelativeBias>("RelativeBias")
      .def(torch::init<at::Tensor, std::string, bool, int64_t, double>(), "",
           {torch::arg("bias"), torch::arg("feature_map") = "prf", torch::arg("causal") = false,
            torch::arg("max_len") = 0, torch::arg("tolerance") = 1e-5})
      .def("table", [](const c10::intrusive_ptr<RelativeBias>& self) { return self->table(); })
      .def("feature_map",
           [](const c10::intrusive_ptr<RelativeBias>& self) { return self->feature_map(); })
      .def("causal", [](const c10::intrusive_ptr<RelativeBias>& self) { return self->causal(); })
      .def("max_len", [](const c10::intrusive_ptr<RelativeBias>& self) { return self->max_len(); })
      .def("tolerance",
           [](const c10::intrusive_ptr<RelativeBias>& self) { return self->tolerance(); })
      .def_pickle([](const c10::intrusive_ptr<RelativeBias>& self) { return GetState(self); },
                  [](State state) { return SetState(state); });
  m.class_<RelativeBias2d>("RelativeBias2d")
      .def(torch::init<at::Tensor, std::vector<int64_t>, std::string, double>(), "",
           {torch::arg("bias"), torch::arg("grid"), torch::arg("feature_map") = "prf",
            torch::arg("tolerance") = 1e-5})
      .def("table", [](const c10::intrusive_ptr<RelativeBias2d>& self) { return self->table(); })
      .def("grid", [](const c10::intrusive_ptr<RelativeBias2d>& self) { return self->grid(); })
      .def("feature_map",
           [](const c10::intrusive_ptr<RelativeBias2d>& self) { return self->feature_map(); })
      .def("tolerance",
           [](const c10::intrusive_ptr<RelativeBias2d>& self) { return self->tolerance(); })
      .def_pickle([](const c10::intrusive_ptr<RelativeBias2d>& self) { return GetState2d(self); },
                  [](State2d state) { return SetState2d(state); });

  m.def(
      "rpe_attention.prepared(Tensor q, Tensor k, Tensor v, Tensor projection, "
      "__torch__.torch.classes.longwave.RelativeBias bias, *, Tensor? cu_seqlens=None, "
      "int[]? seqlens=None, str feature_map=\"prf\", bool normalize=True, float scale=1.0, "
      "bool causal=False, str algorithm=\"auto\", int workspace_bytes=0) -> Tensor");
  m.def(
      "rpe_attention(Tensor q, Tensor k, Tensor v, Tensor projection, Tensor bias, *, "
      "Tensor? cu_seqlens=None, int[]? seqlens=None, str feature_map=\"prf\", "
      "bool normalize=True, float scale=1.0, bool causal=False, str algorithm=\"auto\", "
      "int workspace_bytes=0) -> Tensor");
  m.def(
      "rpe_attention_2d.prepared(Tensor q, Tensor k, Tensor v, Tensor projection, "
      "__torch__.torch.classes.longwave.RelativeBias2d bias, *, str feature_map=\"prf\", "
      "bool normalize=True, float scale=1.0, str algorithm=\"auto\", int workspace_bytes=0) "
      "-> Tensor");
  m.def(
      "rpe_attention_2d(Tensor q, Tensor k, Tensor v, Tensor projection, Tensor bias, "
      "int[2] grid, *, str feature_map=\"prf\", bool normalize=True, float scale=1.0, "
      "str algorithm=\"auto\", int workspace_bytes=0) -> Tensor");
  m.def(
      "plan_attention(__torch__.torch.classes.longwave.RelativeBias bias, int[] seqlens, "
      "int head_dim, int features, str device, str dtype, int workspace_bytes, *, "
      "Tensor? projection=None, bool normalize=True, float scale=1.0) -> str",
      &PlanAttentionJson);
  m.def(
      "plan_attention_2d.prepared(__torch__.torch.classes.longwave.RelativeBias2d bias, "
      "int head_dim, int features, str device, str dtype, int workspace_bytes, *, "
      "Tensor? projection=None, bool normalize=True, float scale=1.0) -> str",
      &PlanAttention2dJson);
  m.def(
      "plan_attention_2d(Tensor bias, int[2] grid, int head_dim, int features, str device, "
      "str dtype, int workspace_bytes, *, str feature_map=\"prf\", Tensor? projection=None, "
      "bool normalize=True, float scale=1.0) -> str",
      &PlanAttention2dJsonOf);
}

TORCH_LIBRARY_IMPL(longwave, CPU, m) {
  m.impl("rpe_attention.prepared", &native::RpeAttentionPrepared);
  m.impl("rpe_attention", &native::RpeAttention);
  m.impl("rpe_attention_2d.prepared", &native::RpeAttention2dPrepared);
  m.impl("rpe_attention_2d", &native::RpeAttention2d);
}

TORCH_LIBRARY_IMPL(longwave, Meta, m) {
  m.impl("rpe_attention.prepared", &meta::RpeAttentionPrepared);
  m.impl("rpe_attention", &meta::RpeAttention);
  m.impl("rpe_attention_2d.prepared", &meta::RpeAttention2dPrepared);
  m.impl("rpe_attention_2d", &meta::RpeAttention2d);
}

}  // namespace longwave::attention
