#include "ops/op_table.h"

#include "ops/dispatch.h"

namespace gale {

void fail_dispatch(std::string_view op, const DeviceCaps& caps, const std::string& candidates,
                   std::initializer_list<NamedTensor> tensors) {
  std::string shapes;
  for (const NamedTensor& named : tensors) {
    shapes += fmt::format("{}{} {}", shapes.empty() ? "" : ", ", named.name, named.tensor.describe());
  }
  CHECK(false, "{}: no implementation on '{}' supports {}; candidates: {}", op, caps.name, shapes,
        candidates.empty() ? "none" : candidates);
}

std::vector<OpChoice> describe(const OpTable& table) {
  std::vector<OpChoice> choices;
  const auto add = [&choices](std::string_view op, const auto& implementations) {
    OpChoice choice{.op = op, .implementations = {}};
    for (const auto& implementation : implementations) choice.implementations.push_back(implementation.name);
    choices.push_back(std::move(choice));
  };
  add("embedding", table.embedding);
  add("gather_rows", table.gather_rows);
  add("rms_norm", table.rms_norm);
  add("add_rms_norm", table.add_rms_norm);
  add("norm_add_rms_norm", table.norm_add_rms_norm);
  add("quantize_rows", table.quantize_rows);
  add("linear", table.linear);
  add("linear_swiglu", table.linear_swiglu);
  add("head_linear", table.head_linear);
  add("qkv_rope_write", table.qkv_rope_write);
  add("paged_attention", table.paged_attention);
  add("mla_write", table.mla_write);
  add("mla_query_rope", table.mla_query_rope);
  add("mla_attention", table.mla_attention);
  add("mla_prefill", table.mla_prefill);
  add("moe_route", table.moe_route);
  add("moe_up", table.moe_up);
  add("moe_down_combine", table.moe_down_combine);
  add("mask_logits", table.mask_logits);
  add("apply_penalties", table.apply_penalties);
  add("apply_logit_bias", table.apply_logit_bias);
  add("sample", table.sample);
  add("logprobs", table.logprobs);
  return choices;
}

}  // namespace gale
