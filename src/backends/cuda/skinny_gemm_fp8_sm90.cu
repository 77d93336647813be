// Dense products of few e4m3 weight rows on Hopper by up to 64 tokens: device/skinny_gemm.cuh.
#include "backends/cuda/device/skinny_gemm_launch.cuh"

namespace gale::cuda {

template void skinny_dense_of_type<__nv_fp8_e4m3>(Stream&, const DenseProduct&, int);

}  // namespace gale::cuda
