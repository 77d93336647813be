#include <fmt/format.h>

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "app/commands.h"
#include "app/device.h"
#include "app/exit_code.h"
#include "app/model_source.h"
#include "backends/cuda/built_in_tables.h"
#include "backends/cuda/kernel_table.h"
#include "backends/cuda/tune.h"
#include "engine/engine.h"
#include "ops/op_table.h"
#include "ops/product.h"
#include "tensor/device.h"

namespace gale {
namespace {

// "NVIDIA H100 80GB HBM3": nvidia-h100-80gb-hbm3.jsonl
std::string file_of_card(const std::string& name) {
  std::string file;
  for (const char letter : name)
    file += std::isalnum(static_cast<unsigned char>(letter)) != 0
                ? static_cast<char>(std::tolower(static_cast<unsigned char>(letter)))
                : '-';
  return file + ".jsonl";
}

// What an earlier call measured, of another model or precision; nothing if there was none.
Result<cuda::KernelTable> earlier_table(const std::string& file, const cuda::KernelTable& nothing) {
  if (!std::filesystem::exists(file)) return nothing;
  GALE_ASSIGN(cuda::KernelTable old, cuda::read_kernel_table(file));
  GALE_TRY(cuda::merged(old, nothing).map([](const cuda::KernelTable&) {}));
  if (old.kernels != nothing.kernels) fmt::print("{} was measured with other kernels: its lines are replaced\n", file);
  return old;
}

// Whole or not at all: a server may read it.
Status replace_file(const std::string& file, const std::string& text) {
  const std::string temporary = file + ".new";
  std::ofstream out(temporary);
  out << text;
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(temporary, file, error);
  if (!out || error) return fail(ErrorCode::kInvalidArgument, "cannot write {}", file);
  return {};
}

Result<int> tune(Config config) {
  GALE_TRY(find_cached_model(config));
  EngineConfig& engine = config.engine;
  engine.load_format = LoadFormat::kDummy;             // shapes are all that counts
  engine.kernel_table = "off";
  GALE_ASSIGN(const ChosenDevice chosen, open_cuda_device(engine));
  Device& device = *chosen.device;
  const std::string file = config.tune.output.empty() ? file_of_card(device.caps().name) : config.tune.output;
  GALE_ASSIGN(const std::vector<ProductShape> products, products_of_model(engine, device, *chosen.ops));
  // A file that cannot take the results is told before they are measured.
  const cuda::KernelTable nothing{.card = cuda::card_of(device), .kernels = std::string(cuda::kernels_version())};
  GALE_ASSIGN(const cuda::KernelTable earlier, earlier_table(file, nothing));
  const auto say = [](const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
  };
  GALE_ASSIGN(cuda::TuneOutcome outcome,
              cuda::tune_kernels(device, {.products = products, .max_seconds = config.tune.seconds, .say = say}));
  const size_t num_measured = outcome.table.entries.size();
  GALE_ASSIGN(const cuda::KernelTable table, cuda::merged(earlier, std::move(outcome.table)));
  GALE_TRY(replace_file(file, cuda::to_text(table)));
  say(fmt::format("{}: {} of this model's {} products measured on {}; gale serve --kernel-table {} follows it", file,
                  num_measured, products.size(), device.caps().name, file));
  if (outcome.num_left_out > 0)
    say(fmt::format("{} sizes of steps were left out when the time was over", outcome.num_left_out));
  if (outcome.num_wrong > 0)
    say(fmt::format("{} candidates were WRONG: their results are not the heuristic's; they are not chosen",
                    outcome.num_wrong));
  return outcome.num_wrong > 0 ? kExitFailed : 0;
}

}  // namespace

int run_tune(const Config& config) {
  if (config.engine.device == DeviceChoice::kCpu)
    return report({ErrorCode::kInvalidArgument, "the kernels of a GPU are measured on it: there is none of a CPU"});
  const Result<int> code = tune(config);
  return code ? *code : report(code.error());
}

}  // namespace gale
