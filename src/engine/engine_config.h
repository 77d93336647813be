#pragma once

#include <cstdint>
#include <string>

#include "scheduler/scheduler_config.h"

namespace gale {

enum class DeviceChoice : uint8_t { kAuto, kCpu, kCuda };
// auto: f32 for f32 checkpoints on a CPU, else bf16
enum class KvCacheDType : uint8_t { kAuto, kBF16, kF32, kF8E4M3 };
enum class Quantization : uint8_t { kNone, kFp8 };         // kFp8: weights become e4m3 when they are loaded
// kDummy: seeded random weights, only config.json is read, all experts alike; kDummyZipf: a few experts do most work
enum class LoadFormat : uint8_t { kAuto, kDummy, kDummyZipf };

struct EngineConfig {
  std::string model_dir;                    // a checkpoint; empty with a script
  std::string script_file;                  // the scripted engine instead of a model (scripted_executor.h)
  DeviceChoice device = DeviceChoice::kAuto;
  Quantization quantization = Quantization::kNone;
  LoadFormat load_format = LoadFormat::kAuto;
  [[nodiscard]] bool has_random_weights() const { return load_format != LoadFormat::kAuto; }
  SchedulerConfig scheduler;
  double gpu_memory_utilization = 0.85;     // share of each card's memory that gale takes; GPUs only
  int64_t kv_cache_memory_bytes = 0;        // 0: what the share above leaves; on a CPU
                                            // min(4 GiB, a quarter of the free memory)
  KvCacheDType kv_cache_dtype = KvCacheDType::kAuto;
  int num_threads = 0;                      // CPU worker threads; 0: one a core
  int num_valid_tokens = 0;                 // 1 + largest token id with text, from
                                            // the tokenizer; 0: the whole vocabulary
  std::string kernel_table;                 // a file of `gale tune`; empty: the build's for the
                                            // card; "off": none; GPUs only
  bool enforce_eager = false;               // no graphs; without effect on a CPU
};

}  // namespace gale
