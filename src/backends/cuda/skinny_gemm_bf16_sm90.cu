// Dense products of few bf16 weight rows on Hopper by up to 64 tokens: device/skinny_gemm.cuh.
#include "backends/cuda/device/skinny_gemm_launch.cuh"

namespace gale::cuda {

template void skinny_dense_of_type<__nv_bfloat16>(Stream&, const DenseProduct&, int);

}  // namespace gale::cuda
