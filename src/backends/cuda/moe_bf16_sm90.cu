// Products of experts with bf16 weights on Hopper: device/stream_gemm.cuh with gathered tokens.
#include "backends/cuda/device/stream_gemm_launch.cuh"

namespace gale::cuda {

template void stream_experts_of_type<__nv_bfloat16>(Stream&, const ExpertProduct&, const Candidate&);

}  // namespace gale::cuda
