#pragma once

#include <cstdint>

namespace gale {

struct SchedulerConfig {
  int max_num_seqs = 256;              // sequences that may run at once
  int max_num_batched_tokens = 2048;   // tokens of one step, prompts and outputs together
  int max_num_mixed_prefill_tokens = 0;   // the prompts' part where answers are written
                                          // in the same step; 0: as much as fits
  int max_mixed_step_ms = 0;           // such a step takes fewer prompt tokens than fit, so that it ends in time;
                                       // 0: 26 on a GPU, 37 with experts; no limit on a CPU
  int mixed_step_grain = 0;            // such a step costs by whole grains of tokens; 0: 256 on a GPU, 1 on a CPU
  int layered_context = 0;             // prompts go through the model a few layers a step (LayerSlice) beside answers
                                       // once so many tokens are cached; 0: 8192 on a GPU, never on a CPU
  int max_layered_tokens = 0;          // of such a piece; 0: 4096 if as many fit beside max_num_seqs answers
  int num_layers = 0;                  // of the model; 0: pieces always go through all of them
  int max_model_len = 0;               // tokens of one sequence, prompt and output; 0: what model and memory allow
  int block_size = 0;                  // tokens of one block; 0: 16 on a CPU, 64 on a GPU
  int64_t num_blocks = 0;              // 0: what memory allows
  bool enable_prefix_caching = true;
};

}  // namespace gale
