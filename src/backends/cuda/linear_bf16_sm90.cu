// Dense products of bf16 weights on Hopper: device/stream_gemm.cuh for 8 to 128 tokens a tile.
#include "backends/cuda/device/stream_gemm_launch.cuh"

namespace gale::cuda {

template void stream_dense_of_type<__nv_bfloat16>(Stream&, const DenseProduct&, const StreamGemmPlan&);

}  // namespace gale::cuda
