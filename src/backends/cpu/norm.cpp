#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/norm_row.h"

namespace gale {

void cpu_rms_norm(Stream& stream, const RmsNormArgs& args) {
  const int64_t width = args.in.shape[1];
  const float* weight = args.weight.as<float>();
  for_each_row(stream, args.in.shape[0], 2 * width, [&](int64_t t) {
    norm_row(args.out.row<float>(t), args.in.row<float>(t), weight, args.eps, width);
  });
}

void cpu_add_rms_norm(Stream& stream, const AddRmsNormArgs& args) {
  const int64_t width = args.in.shape[1];
  const float* weight = args.weight.as<float>();
  for_each_row(stream, args.in.shape[0], 3 * width, [&](int64_t t) {
    cpu_kernels().add(args.residual.row<float>(t), args.in.row<float>(t), width);
    norm_row(args.out.row<float>(t), args.residual.row<float>(t), weight, args.eps, width);
  });
}

void cpu_norm_add_rms_norm(Stream& stream, const NormAddRmsNormArgs& args) {
  const int64_t width = args.in.shape[1];
  const float* post_weight = args.post_weight.as<float>();
  const float* weight = args.weight.as<float>();
  for_each_row(stream, args.in.shape[0], 5 * width, [&](int64_t t) {
    float* out = args.out.row<float>(t);
    norm_row(out, args.in.row<float>(t), post_weight, args.eps, width);   // out holds the normed sublayer for a moment
    cpu_kernels().add(args.residual.row<float>(t), out, width);
    norm_row(out, args.residual.row<float>(t), weight, args.eps, width);
  });
}

}  // namespace gale
