// What a closed loop of users would see, told from what a step costs, by the real scheduler and pace of steps:
//     loop_model [name=value …]
// users, prompts (of all users together), input and output (tokens of each); a step of D answers and P prompt tokens
// takes answers_us + D * answer_us and, if P > 0, prompts_us + P * prompt_us more; limit_ms, grain and max_tokens as in
// SchedulerConfig. experts_us is what the weights of all experts take, of which each token touches one in experts_of.
// long > 0: a prompt of so many tokens comes beside them, whose tokens take context_us more for each 1,000 of their
// context, and which goes by layers from layered_context on. Costs are read from a profile (tools/gpu/profile_step.py).
// With the defaults, those of the 9B in FP8 on an H100, it says 11,800 output tokens a second; measured were 11,640 to
// 11,830 (perf/README.md).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/scheduler.h"
#include "scheduler/step_pace.h"

namespace gale {
namespace {

constexpr TokenId kToken = 7;
constexpr int kStepsBeforeLong = 200;

using Settings = std::map<std::string, double, std::less<>>;

int count_of(const Settings& settings, std::string_view name) { return static_cast<int>(settings.find(name)->second); }

class Loop {
 public:
  explicit Loop(const Settings& settings)
      : settings_(settings),
        scheduler_(config_of(settings)),
        pace_(std::chrono::milliseconds(get("limit_ms")), get("grain"), get("layers")) {}

  void run() {
    for (int i = 0; i < get("users"); ++i) arrive();
    for (int i = 0; i < kStepsBeforeLong && get("long") > 0; ++i) step();
    if (get("long") > 0) arrive_long();
    while (scheduler_.has_work()) step();
    print();
  }

 private:
  struct Client {
    double begin_ns = 0, first_token_ns = 0, last_token_ns = 0;
  };

  [[nodiscard]] int get(std::string_view name) const { return count_of(settings_, name); }
  [[nodiscard]] double cost(std::string_view name) const { return settings_.find(name)->second * 1e3; }

  static SchedulerConfig config_of(const Settings& settings) {
    SchedulerConfig config;
    config.max_num_seqs = count_of(settings, "users") + (count_of(settings, "long") > 0 ? 1 : 0);
    config.max_num_batched_tokens = count_of(settings, "max_tokens");
    config.mixed_step_grain = count_of(settings, "grain");
    const int longest_input = std::max(count_of(settings, "input"), count_of(settings, "long"));
    config.max_model_len = longest_input + count_of(settings, "output");
    config.block_size = 64;
    config.num_blocks = int64_t{config.max_num_seqs} * ((config.max_model_len + 63) / 64 + 1);
    config.layered_context = count_of(settings, "layered_context");
    config.max_layered_tokens = 4096;
    config.num_layers = count_of(settings, "layers");
    config.enable_prefix_caching = false;
    return config;
  }

  void arrive() {
    if (num_arrived_++ >= get("prompts")) return;
    Submit submit;
    submit.id = RequestId(clients_.size() + 1);
    submit.prompt.assign(static_cast<size_t>(get("input")), kToken);
    submit.stop = {.max_tokens = get("output")};
    clients_.push_back({.begin_ns = now_ns_});
    (void)scheduler_.add(std::move(submit));
  }

  void arrive_long() {
    Submit submit;
    submit.id = long_id_ = RequestId(clients_.size() + 1);
    submit.prompt.assign(static_cast<size_t>(get("long")), kToken + 1);
    submit.stop = {.max_tokens = 1};
    clients_.push_back({.begin_ns = now_ns_});
    (void)scheduler_.add(std::move(submit));
  }

  // Beyond what each prompt token costs.
  [[nodiscard]] double context_ns(const Plan& plan) const {
    double ns = 0;
    for (const ScheduledSequence& scheduled : plan.sequences) {
      if (scheduled.id != long_id_) continue;
      const int num_tokens = scheduled.num_scheduled_tokens;
      const double context = scheduled.num_computed_tokens + num_tokens / 2.0;
      const double whole = num_tokens * (cost("prompt_us") + context / 1000 * cost("context_us"));
      const int num_layers = scheduled.layers ? scheduled.layers->end - scheduled.layers->first : get("layers");
      ns += whole * num_layers / get("layers") - num_tokens * cost("prompt_us");
    }
    return ns;
  }

  void step() {
    scheduler_.limit_mixed_prefill(pace_.max_prompt_tokens());
    scheduler_.limit_layered_prefill(pace_.max_token_layers());
    const Plan plan = scheduler_.schedule();
    std::vector<SequenceResult> results(plan.sequences.size());
    for (size_t i = 0; i < results.size(); ++i) {
      if (plan.sequences[i].wants_token) results[i].tokens = {kToken};
    }
    const int num_answers = plan.num_answer_tokens(), num_prompt_tokens = plan.num_tokens - num_answers;
    double ns = cost("answers_us") + num_answers * cost("answer_us");
    if (num_prompt_tokens > 0) ns += cost("prompts_us") + num_prompt_tokens * cost("prompt_us");
    ns += cost("experts_us") * (1 - std::pow(1 - 1 / settings_.find("experts_of")->second, plan.num_tokens));
    ns += context_ns(plan);
    now_ns_ += ns;
    if (scheduler_.is_live(long_id_)) long_steps_ns_.push_back(ns);
    ++num_steps_;
    pace_.note(plan, Duration(static_cast<int64_t>(ns)));
    for (const SequenceOutput& output : scheduler_.commit(plan, std::move(results))) deliver(output);
  }

  void deliver(const SequenceOutput& output) {
    Client& client = clients_[output.id.value - 1];
    if (!output.tokens.empty()) {
      if (client.first_token_ns == 0) {
        client.first_token_ns = now_ns_;
      } else {
        gaps_ns_.push_back(now_ns_ - client.last_token_ns);
      }
      client.last_token_ns = now_ns_;
    }
    if (output.finish) arrive();
  }

  void print() {
    double ttft_ns = 0;
    for (const Client& client : clients_) ttft_ns += client.first_token_ns - client.begin_ns;
    const auto p99 = gaps_ns_.begin() + static_cast<std::ptrdiff_t>(gaps_ns_.size() * 99 / 100);
    std::nth_element(gaps_ns_.begin(), p99, gaps_ns_.end());
    if (get("long") > 0) {
      const Client& client = clients_[long_id_.value - 1];
      std::ranges::sort(long_steps_ns_);
      const size_t count = long_steps_ns_.size();
      fmt::print("the long prompt: {:.1f} s, {} steps meanwhile, median {:.1f} ms, P99 {:.1f} ms\n",
                 (client.first_token_ns - client.begin_ns) / 1e9, count, long_steps_ns_[count / 2] / 1e6,
                 long_steps_ns_[count * 99 / 100] / 1e6);
    }
    const double num_tokens = static_cast<double>(clients_.size()) * get("output");
    fmt::print("{:.0f} output tok/s, mean TTFT {:.0f} ms, gap P99 {:.1f} ms, {} steps of {:.2f} ms\n",
               num_tokens / now_ns_ * 1e9, ttft_ns / 1e6 / static_cast<double>(clients_.size()), *p99 / 1e6, num_steps_,
               now_ns_ / 1e6 / num_steps_);
  }

  Settings settings_;
  Scheduler scheduler_;
  StepPace pace_;
  std::vector<Client> clients_;        // request i + 1
  std::vector<double> gaps_ns_, long_steps_ns_;
  RequestId long_id_{};
  double now_ns_ = 0;
  int num_steps_ = 0, num_arrived_ = 0;
};

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  gale::Settings settings = {{"users", 128},     {"prompts", 384},     {"input", 1024},    {"output", 512},
                             {"answers_us", 4000}, {"answer_us", 20},  {"prompts_us", 0},  {"prompt_us", 15.5},
                             {"limit_ms", 26},   {"grain", 256},       {"max_tokens", 2048}, {"long", 0},
                             {"context_us", 0},  {"layers", 40},       {"layered_context", 8192}, {"experts_us", 0},
                             {"experts_of", 16}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const size_t equals = std::min(word.find('='), word.size());
    const auto found = settings.find(word.substr(0, equals));
    const std::string_view number = word.substr(std::min(equals + 1, word.size()));
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (found == settings.end() || error != std::errc() || end != number.data() + number.size() || value < 0) {
      fmt::print(stderr, "loop_model: {} is not one of its settings with a number\n", word);
      return 2;
    }
    found->second = value;
  }
  if (settings["users"] < 1 || settings["prompts"] < 1 || settings["input"] < 1 || settings["output"] < 2 ||
      settings["grain"] < 1 || settings["max_tokens"] < 1 || settings["layers"] < 1 ||
      settings["experts_of"] < 1) {
    fmt::print(stderr, "loop_model: but for output, which is 2 or more, and costs and long, all are 1 or more\n");
    return 2;
  }
  gale::Loop(settings).run();
}
