#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "backends/cuda/product_plan.h"
#include "base/result.h"
#include "ops/linear.h"

// What `gale tune` measured on a card, as a file of JSON lines: a head that says of which card and which kernels, then
// a line for each product and bucket of tokens.
namespace gale::cuda {

struct CardFacts {
  std::string name;                    // "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;          // 90
  int num_sms = 0;
  bool operator==(const CardFacts&) const = default;
};

struct ProductKey {
  ProductOp op = ProductOp::kLinear;
  bool is_fp8 = false;
  int64_t num_rows = 0, num_cols = 0, num_matrices = 1;
  auto operator<=>(const ProductKey&) const = default;
};
[[nodiscard]] ProductKey key_of(const ProductShape& shape);
[[nodiscard]] ProductKey key_of(ProductOp op, const PackedWeight& weight);

struct TableEntry {
  Candidate kernel;
  int64_t num_chosen = 1;              // as in ProductShape
  double microseconds = 0, heuristic_microseconds = 0;   // of the bucket's largest measured step
  bool operator==(const TableEntry&) const = default;
};

struct KernelTable {
  CardFacts card;
  std::string kernels;                 // kernels_version() when it was measured
  std::map<ProductKey, std::map<int, TableEntry>> entries;   // by bucket

  // Null where nothing was measured.
  [[nodiscard]] const TableEntry* find(const ProductKey& key, int64_t num_tokens) const;
  [[nodiscard]] Candidate choice(const ProductKey& key, int64_t num_tokens) const;
  bool operator==(const KernelTable&) const = default;
};

// kInvalidArgument names file, line and field.
[[nodiscard]] Result<KernelTable> parse_kernel_table(std::string_view text, const std::string& file);
// The same of a file; one that cannot be read fails as base/mapped_file.h says.
[[nodiscard]] Result<KernelTable> read_kernel_table(const std::string& file);
// What parse_kernel_table reads back; the same table makes the same text.
[[nodiscard]] std::string to_text(const KernelTable& table);

// `measured`, and of `old` the products that are not in it. kInvalidArgument: `old` is of another card. What was
// measured with other kernels is left out.
[[nodiscard]] Result<KernelTable> merged(const KernelTable& old, KernelTable measured);

// The table for a card: that of the file, or for an empty name the one that this build holds for it, or none for "off".
// Says in the log what was found, and whether it was measured with other kernels than this build's. kInvalidArgument: a
// file that cannot be read, or of another card.
[[nodiscard]] Result<KernelTable> load_kernel_table(const CardFacts& card, const std::string& file);

}  // namespace gale::cuda
