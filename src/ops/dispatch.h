#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "ops/op.h"

namespace gale {

struct NamedTensor { std::string_view name; const Tensor& tensor; };

// Ends the process, naming the op, its shapes and the candidates that all declined.
[[noreturn]] void fail_dispatch(std::string_view op, const DeviceCaps& caps, const std::string& candidates,
                                std::initializer_list<NamedTensor> tensors);

// The first implementation that supports the call, or null.
template <class Args>
[[nodiscard]] const OpImpl<Args>* choose(std::span<const OpImpl<Args>> candidates, const DeviceCaps& caps,
                                         const Args& args) {
  for (const OpImpl<Args>& candidate : candidates) {
    if (candidate.supports(caps, args)) return &candidate;
  }
  return nullptr;
}

// Runs the first implementation that supports the call. The null device stops after the checks before it.
template <class Args>
void dispatch(OpContext& context, std::span<const OpImpl<Args>> candidates, const Args& args, std::string_view op,
              std::initializer_list<NamedTensor> tensors) {
  if (context.caps.kind == DeviceKind::kNull) return;
  const OpImpl<Args>* chosen = choose(candidates, context.caps, args);
  if (chosen == nullptr) [[unlikely]] {
    std::string names;
    for (const OpImpl<Args>& candidate : candidates) names.append(names.empty() ? "" : ", ").append(candidate.name);
    fail_dispatch(op, context.caps, names, tensors);
  }
  chosen->run(context.stream, args);
  if (context.trace != nullptr) context.trace->ran(op, chosen->name);
}

}  // namespace gale
