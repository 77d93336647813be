#pragma once

#include <span>
#include <string_view>

// Made by cmake/embed_kernel_tables.py when the program is built.
namespace gale::cuda {

// A digest of the sources that a product's time depends on.
[[nodiscard]] std::string_view kernels_version();

// The tables of src/backends/cuda/tables, one a card.
struct BuiltInTable {
  std::string_view file, text;
};
[[nodiscard]] std::span<const BuiltInTable> built_in_tables();

}  // namespace gale::cuda
