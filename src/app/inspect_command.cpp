#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>

#include "app/commands.h"
#include "app/device.h"
#include "app/exit_code.h"
#include "app/model_source.h"
#include "engine/engine.h"
#include "engine/memory_plan.h"
#include "models/model.h"
#include "ops/op_table.h"
#include "ops/product.h"

namespace gale {
namespace {

void print_model(const ModelInfo& info) {
  std::printf("architecture      %s\n", info.architecture.c_str());
  std::printf("parameters        %.3f million in use\n", static_cast<double>(info.num_parameters) / 1e6);
  std::printf("checkpoint type   %s\n", std::string(name_of(info.checkpoint_dtype)).c_str());
  std::printf("layers, hidden    %d, %d\n", info.num_layers, info.hidden_size);
  std::printf("vocabulary        %d\n", info.vocab_size);
  std::printf("longest context   %d tokens\n", info.max_position_embeddings);
  if (info.num_experts > 0) {
    constexpr int kUsers = 64;
    const double touched =
        info.num_experts * (1 - std::pow(1 - static_cast<double>(info.num_experts_a_token) / info.num_experts, kUsers));
    std::printf(
        "experts           %d a layer, %d a token; %d users touch %.1f of them in a step if routers are balanced\n",
        info.num_experts, info.num_experts_a_token, kUsers, touched);
  }
}

// How many tensors each part of the model claimed, and their elements.
void print_claims(const ModelPlan& plan) {
  struct Sum { int count = 0; int64_t elements = 0; };
  std::map<std::string, Sum> sums;
  for (const TensorSummary& tensor : plan.tensors) {
    Sum& sum = sums[tensor.claimed_by];
    ++sum.count;
    sum.elements += tensor.shape.num_elements();
  }
  std::printf("tensors           %zu\n", plan.tensors.size());
  for (const auto& [claimer, sum] : sums)
    std::printf("  %-24s %5d tensors %14lld elements\n", claimer.c_str(), sum.count,
                static_cast<long long>(sum.elements));
}

void print_tensors(const ModelPlan& plan) {
  for (const TensorSummary& tensor : plan.tensors)
    std::printf("%-70s %-5s %-22s %-36s %s\n", tensor.name.c_str(), tensor.dtype.c_str(),
                tensor.shape.to_string().c_str(), tensor.file.c_str(), tensor.claimed_by.c_str());
}

void print_kernels(const OpTable& table) {
  std::printf("%-22s %s\n", "op", "implementations, best first");
  for (const OpChoice& choice : describe(table)) {
    std::string names;
    for (const std::string_view name : choice.implementations) names += (names.empty() ? "" : ", ") + std::string(name);
    std::printf("%-22s %s\n", std::string(choice.op).c_str(), names.c_str());
  }
}

// Which kernel each product of the model takes, by the tokens of a step; from here to the next number.
Status print_choices(const EngineConfig& config, const ChosenDevice& chosen) {
  if (chosen.ops->product_choices == nullptr) return {};
  GALE_ASSIGN(const std::vector<ProductShape> products, products_of_model(config, *chosen.device, *chosen.ops));
  std::printf("\n%-36s  kernel by tokens of a step; * measured, else the first heuristic\n", "product");
  for (const ProductShape& product : products) {
    const std::vector<ProductChoice> choices = chosen.ops->product_choices(*chosen.device, product);
    std::string line;
    int first = 1;
    for (size_t i = 0; i < choices.size(); ++i) {
      const auto& [max_tokens, kernel, is_measured] = choices[i];
      const bool goes_on = i + 1 < choices.size() && choices[i + 1].kernel == kernel &&
                           choices[i + 1].is_measured == is_measured;
      if (goes_on) continue;
      line += fmt::format("  {}: {}{}", first, kernel, is_measured ? "*" : "");
      first = max_tokens + 1;
    }
    std::printf("%-36s%s\n", describe(product).c_str(), line.empty() ? "  one for all" : line.c_str());
  }
  return {};
}

}  // namespace

int run_inspect(const Config& given) {
  Config config = given;
  if (const Status found = find_cached_model(config); !found) return report(found.error());
  const auto plan = plan_model(config.engine.model_dir, config.engine.has_random_weights());
  if (!plan) return report(plan.error());
  print_model(plan->info);
  print_claims(*plan);
  if (config.inspect.tensors) print_tensors(*plan);
  const Result<ChosenDevice> chosen = choose_device(config.engine);
  if (!chosen) return report(chosen.error());
  std::printf("computes on       %s\n", chosen->device->caps().name.c_str());
  if (config.inspect.kernels) {
    print_kernels(*chosen->ops);
    if (const Status printed = print_choices(config.engine, *chosen); !printed) return report(printed.error());
  }
  const Result<MemoryPlan> memory = plan_serving(config.engine, *chosen->device, *chosen->ops);
  if (!memory) return report(memory.error());
  std::printf("\nmemory plan of `gale serve` here\n%s\n", memory->describe().c_str());
  return 0;
}

}  // namespace gale
