// Products of experts with e4m3 weights on Hopper: device/stream_gemm.cuh with gathered tokens.
#include "backends/cuda/device/stream_gemm_launch.cuh"

namespace gale::cuda {

template void stream_experts_of_type<__nv_fp8_e4m3>(Stream&, const ExpertProduct&, const Candidate&);

}  // namespace gale::cuda
