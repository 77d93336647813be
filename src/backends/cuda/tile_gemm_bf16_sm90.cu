// Dense products of bf16 weights on Hopper by more than 64 tokens: device/tile_gemm.cuh.
#include "backends/cuda/device/tile_gemm_launch.cuh"

namespace gale::cuda {

template void tile_dense_of_type<__nv_bfloat16>(Stream&, const DenseProduct&, const TileGemmPlan&);

}  // namespace gale::cuda
