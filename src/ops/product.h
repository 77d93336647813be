#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// Products by packed weights, of which a backend may have several kernels: what kernels are chosen by, and what was
// chosen.
namespace gale {

// kLogits: linear with f32 results.
enum class ProductOp : uint8_t { kLinear, kLogits, kLinearSwiglu, kMoeUp, kMoeDown };

[[nodiscard]] constexpr std::string_view name_of(ProductOp op) {
  switch (op) {
    case ProductOp::kLinear: return "linear";
    case ProductOp::kLogits: return "logits";
    case ProductOp::kLinearSwiglu: return "linear_swiglu";
    case ProductOp::kMoeUp: return "moe_up";
    case ProductOp::kMoeDown: return "moe_down";
  }
  return "";
}

struct ProductShape {
  ProductOp op = ProductOp::kLinear;
  bool is_fp8 = false;                  // e4m3 weights and inputs, else bf16
  int64_t num_rows = 0, num_cols = 0;   // N and K of each matrix
  int64_t num_matrices = 1;             // experts
  int64_t num_chosen = 1;               // experts of a token
  bool operator==(const ProductShape&) const = default;
};

[[nodiscard]] std::string describe(const ProductShape& shape);   // "moe_up fp8 65 x [3072, 2048]"

// Of steps of up to max_tokens tokens, and more than the choice before this one is for.
struct ProductChoice {
  int max_tokens;
  std::string kernel;
  bool is_measured;                     // by `gale tune`; else the backend's first heuristic
};

}  // namespace gale
