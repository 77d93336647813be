// Dense products of e4m3 weights on Hopper by more than 64 tokens: device/tile_gemm.cuh.
#include "backends/cuda/device/tile_gemm_launch.cuh"

namespace gale::cuda {

template void tile_dense_of_type<__nv_fp8_e4m3>(Stream&, const DenseProduct&, const TileGemmPlan&);

}  // namespace gale::cuda
