#include <algorithm>
#include <limits>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"

namespace gale {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

// The logit of entry i of a list of (row, token).
float& logit_at(const Tensor& logits, const Tensor& rows, const Tensor& token_ids, int64_t i) {
  const int32_t row = rows.row<int32_t>(i)[0], token = token_ids.row<int32_t>(i)[0];
  CHECK(row >= 0 && row < logits.shape[0] && token >= 0 && token < logits.shape[1],
        "entry {} is for row {}, token {} of logits {}", i, row, token, logits.shape.to_string());
  return logits.row<float>(row)[token];
}

}  // namespace

void cpu_mask_logits(Stream& stream, const MaskLogitsArgs& args) {
  const int64_t vocabulary = args.logits.shape[1];
  const int64_t first_invalid = std::min<int64_t>(args.num_valid_tokens, vocabulary);
  for_each_row(stream, args.logits.shape[0], vocabulary - first_invalid, [&](int64_t r) {
    std::fill(args.logits.row<float>(r) + first_invalid, args.logits.row<float>(r) + vocabulary, kForbidden);
  });
  if (args.masks.is_empty()) return;
  for_each_row(stream, args.masks.shape[0], vocabulary, [&](int64_t m) {
    const uint32_t* mask = args.masks.row<uint32_t>(m);
    const int32_t row = args.mask_rows.row<int32_t>(m)[0];
    CHECK(row >= 0 && row < args.logits.shape[0], "mask {} is for row {} of {}", m, row, args.logits.shape[0]);
    float* logits = args.logits.row<float>(row);
    for (int64_t token = 0; token < vocabulary; ++token) {
      if ((mask[token / 32] >> (token % 32) & 1u) == 0) logits[token] = kForbidden;
    }
  });
}

void cpu_apply_penalties(Stream& stream, const PenaltiesArgs& args) {
  for_each_row(stream, args.rows.shape[0], 8, [&](int64_t i) {   // entries are distinct: no two touch one logit
    float& logit = logit_at(args.logits, args.rows, args.token_ids, i);
    const int32_t row = args.rows.row<int32_t>(i)[0];
    const auto count = static_cast<float>(args.output_counts.row<int32_t>(i)[0]);
    const float repetition = args.repetition.row<float>(row)[0];
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (count > 0) logit -= args.frequency.row<float>(row)[0] * count + args.presence.row<float>(row)[0];
  });
}

void cpu_apply_logit_bias(Stream&, const LogitBiasArgs& args) {
  for (int64_t i = 0; i < args.rows.shape[0]; ++i) {   // in order: a token may have several entries
    logit_at(args.logits, args.rows, args.token_ids, i) += args.values.row<float>(i)[0];
  }
}

}  // namespace gale
