// What the backend says of its choices: ops/product.h.
#include <algorithm>

#include "backends/cuda/kernel_table.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/product_plan.h"
#include "backends/cuda/stream.h"

namespace gale::cuda {

std::vector<ProductChoice> product_choices(const Device& device, const ProductShape& shape) {
  std::vector<ProductChoice> out;
  if (device.caps().compute_capability != 90) return out;      // elsewhere the portable kernels run
  const KernelTable& table = table_of(device);
  for (const int bucket : bucket_bounds(shape.op)) {
    const TableEntry* entry = table.find(key_of(shape), bucket);
    const bool is_heuristic = entry == nullptr || entry->kernel == Candidate{};
    const int num_tokens = std::min(bucket, kMostMeasuredTokens);
    out.push_back({bucket, name_of(is_heuristic ? first_choice(shape, num_tokens) : entry->kernel), entry != nullptr});
  }
  return out;
}

}  // namespace gale::cuda
