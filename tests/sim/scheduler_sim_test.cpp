// The scheduler and its blocks under random load, with a model that is a function and a clock that counts steps. Each
// seed draws a configuration and a story of arrivals, cancels and memory pressure; rules are checked after every step.
//   sim_test --seeds=N runs N seeds instead of 200;   --steps=N at least so many steps;   --seed=S runs one seed again.
#include <gtest/gtest.h>

#include <charconv>
#include <cstdio>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string_view>
#include <utility>

#include "fake_memory.h"
#include "scheduler/scheduler.h"

namespace gale {
namespace {

int num_seeds = 200;
int num_steps_wanted = 0;
int only_seed = -1;

constexpr TokenId kStopToken = 7;

// The fake model: the next token is a function of all tokens before it, as a real greedy one's is.
TokenId next_token(std::span<const TokenId> tokens) {
  uint64_t state = 1469598103934665603ULL;
  for (const TokenId token : tokens) state = (state ^ static_cast<uint64_t>(token)) * 1099511628211ULL;
  return static_cast<TokenId>((state >> 33) % 50);
}

// What a client saw of one sequence, and what it must see.
struct Client {
  Submit submit;
  std::vector<TokenId> output;
  std::optional<FinishReason> finish;
  bool is_cancelled = false;
  int num_prompt_logprobs = 0;
  int num_preemptions_in_a_row = 0;    // without a token between
  uint64_t submitted_at = 0;
  bool knows_cached_tokens = false;
};

// A plan that is being computed, and what the device was told of each sequence's blocks when it began.
struct Flight {
  Plan plan;
  std::vector<std::vector<BlockId>> tables;
};

std::pair<std::vector<TokenId>, FinishReason> expected_output(const Submit& submit, int max_model_len) {
  std::vector<TokenId> tokens = submit.prompt;
  tokens.insert(tokens.end(), submit.output.begin(), submit.output.end());
  std::vector<TokenId> output;
  for (;;) {
    const TokenId token = next_token(tokens);
    tokens.push_back(token);
    output.push_back(token);
    const auto num_output = static_cast<int>(tokens.size() - submit.prompt.size());
    if (token == kStopToken && num_output > submit.stop.min_tokens) return {output, FinishReason::kStop};
    if (num_output >= submit.stop.max_tokens || static_cast<int>(tokens.size()) >= max_model_len)
      return {output, FinishReason::kLength};
  }
}

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed), config_(draw_config()), scheduler_(config_),
                                          memory_(config_.num_blocks, config_.block_size) {
    speculates_ = chance(0.3);
    num_clients_ = between(5, 60);
    shared_prefix_ = draw_tokens(between(0, 3 * config_.block_size));
    depth_ = static_cast<size_t>(between(1, 3));
  }

  void run() {
    uint64_t quiet_steps = 0;
    while (static_cast<int>(clients_.size()) < num_clients_ || has_work()) {
      if (static_cast<int>(clients_.size()) < num_clients_ && chance(arrival_chance_)) arrive();
      if (chance(0.05)) cancel_somebody();
      if (chance(0.01)) scheduler_.reset_prefix_cache();
      audit();
      if (!has_work()) continue;
      const size_t told = step();
      audit();
      quiet_steps = told > 0 ? 0 : quiet_steps + 1;
      ASSERT_LT(quiet_steps, 4 * static_cast<uint64_t>(config_.max_model_len)) << "nobody moves";
      if (testing::Test::HasFatalFailure()) return;
    }
    check_clients();
  }

  [[nodiscard]] uint64_t num_steps() const { return scheduler_.stats().step; }
  [[nodiscard]] uint64_t num_slices() const { return num_slices_; }
  [[nodiscard]] uint64_t num_preemptions() const { return scheduler_.stats().num_preemptions; }

 private:
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(random_); }
  std::vector<TokenId> draw_tokens(int count) {
    std::vector<TokenId> tokens(static_cast<size_t>(count));
    for (TokenId& token : tokens) token = between(0, 49);
    return tokens;
  }

  SchedulerConfig draw_config() {
    SchedulerConfig config;
    config.block_size = between(1, 16);
    config.max_model_len = between(8, 120);
    config.max_num_seqs = between(1, 24);
    config.max_num_batched_tokens = between(1, 96);
    config.max_num_mixed_prefill_tokens = chance(0.3) ? between(1, 48) : 0;
    config.mixed_step_grain = chance(0.5) ? between(2, 32) : 1;
    if (chance(0.5)) {
      config.num_layers = between(2, 8), config.max_layered_tokens = between(1, 64);
      config.layered_context = between(1, 24);
    }
    const int64_t for_one = (config.max_model_len + config.block_size - 1) / config.block_size;
    config.num_blocks = for_one + between(0, static_cast<int>(for_one) * between(0, 8));
    config.enable_prefix_caching = chance(0.8);
    arrival_chance_ = chance(0.3) ? 1.0 : 0.2;
    priority_chance_ = chance(0.3) ? 0.9 : 0.2;
    return config;
  }

  void arrive() {
    Submit submit;
    submit.id = {clients_.size() + 1};
    submit.prompt = chance(0.5) ? shared_prefix_ : std::vector<TokenId>{};
    const std::vector<TokenId> own = draw_tokens(between(0, config_.max_model_len / 2));
    submit.prompt.insert(submit.prompt.end(), own.begin(), own.end());
    if (chance(0.2)) submit.output = draw_tokens(between(1, 10));
    submit.stop = {.stop_token_ids = {kStopToken}, .min_tokens = between(0, 4), .max_tokens = between(1, 60)};
    if (chance(0.1)) submit.sampling.num_prompt_logprobs = 0;
    submit.priority = chance(priority_chance_) ? between(-1, 1) : 0;
    submit.cache_salt = chance(0.1) ? "other" : "";
    const RequestId id = submit.id;
    clients_[id].submitted_at = num_steps();
    clients_[id].submit = submit;
    if (std::optional<SequenceOutput> outcome = scheduler_.add(std::move(submit))) deliver(*outcome);
  }

  void cancel_somebody() {
    if (clients_.empty()) return;
    auto it = clients_.begin();
    std::advance(it, between(0, static_cast<int>(clients_.size()) - 1));
    Client& client = it->second;
    const bool was_live = !client.finish;
    const std::optional<SequenceOutput> outcome = scheduler_.cancel(it->first);
    ASSERT_EQ(outcome.has_value(), was_live);
    if (!outcome) return;
    client.is_cancelled = true;
    deliver(*outcome);
  }

  [[nodiscard]] bool has_work() const { return scheduler_.has_work() || !in_flight_.empty(); }

  // Plans ahead as the engine's loop does: up to depth_ plans are under way before the oldest is committed.
  size_t step() {
    bool is_stuck = true;
    if (in_flight_.size() < depth_ && scheduler_.has_work()) {
      if (chance(0.3)) scheduler_.limit_layered_prefill(chance(0.1) ? std::nullopt : std::optional(between(0, 300)));
      std::set<RequestId> running;
      for (const auto& [id, client] : clients_) {
        if (!client.finish && scheduler_.sequence(id).slot) running.insert(id);
      }
      Plan plan = scheduler_.schedule();
      is_stuck = plan.sequences.empty();
      if (!is_stuck) {
        check_plan(plan);
        check_order(plan, running);
        check_layers(plan);
        if (testing::Test::HasFatalFailure()) return 0;
        launch(std::move(plan));
      }
    }
    EXPECT_FALSE(in_flight_.empty()) << "work, but no plan";
    if (in_flight_.empty() || (!is_stuck && in_flight_.size() < depth_ && chance(0.9))) return 0;
    const Flight flight = std::move(in_flight_.front());
    in_flight_.pop_front();
    const Plan& plan = flight.plan;
    if (chance(0.02)) cancel_somebody();               // between plan and commit
    std::vector<SequenceResult> results;
    for (size_t i = 0; i < plan.sequences.size(); ++i) results.push_back(compute(plan.sequences[i], flight.tables[i]));
    if (testing::Test::HasFatalFailure()) return 0;
    const std::vector<SequenceOutput> outputs = scheduler_.commit(plan, std::move(results));
    for (const SequenceOutput& output : outputs) deliver(output);
    EXPECT_EQ(scheduler_.stats().generation_tokens, num_delivered_) << "tokens are counted wrong";
    return outputs.size();
  }

  void launch(Plan plan) {
    std::vector<std::vector<BlockId>> tables;
    for (const ScheduledSequence& scheduled : plan.sequences) {
      tables.push_back(scheduler_.sequence(scheduled.id).table.blocks);
    }
    in_flight_.push_back({std::move(plan), std::move(tables)});
  }

  // First come, first served among equal priorities: nobody who waits is passed by a newcomer.
  void check_order(const Plan& plan, const std::set<RequestId>& running_before) {
    const auto place_of = [this](RequestId id) {
      const Sequence& sequence = scheduler_.sequence(id);
      return std::pair(sequence.request.priority, sequence.arrival);
    };
    for (const ScheduledSequence& scheduled : plan.sequences) {
      if (!scheduled.is_new || running_before.contains(scheduled.id)) continue;
      for (const auto& [id, client] : clients_) {
        if (client.finish || scheduler_.sequence(id).slot) continue;
        ASSERT_LT(place_of(scheduled.id), place_of(id)) << id.value << " waits and is passed by " << scheduled.id.value;
      }
    }
  }

  // A piece of a prompt goes through all layers in order, and another begins only when none is under way any more.
  void check_layers(const Plan& plan) {
    const auto is_slice = [](const ScheduledSequence& scheduled) { return scheduled.layers.has_value(); };
    ASSERT_LE(std::ranges::count_if(plan.sequences, is_slice), plan.layered() != nullptr ? 1 : 0);
    if (plan.layered() == nullptr) return;
    const ScheduledSequence& slice = *plan.layered();
    ++num_slices_;
    ASSERT_LT(slice.layers->first, slice.layers->end);
    ASSERT_LE(slice.num_scheduled_tokens, config_.max_layered_tokens);
    ASSERT_EQ(slice.layers->is_last, slice.layers->end == config_.num_layers);
    ASSERT_TRUE(slice.is_complete() || !slice.wants_token);
    if (slice.layers->first > 0) {
      ASSERT_TRUE(piece_) << "nobody began it";
      ASSERT_EQ(piece_->id, slice.id);
      ASSERT_EQ(piece_->admission, slice.admission);
      ASSERT_EQ(piece_->layers->end, slice.layers->first);
      ASSERT_EQ(piece_->num_computed_tokens, slice.num_computed_tokens);
      ASSERT_EQ(piece_->num_scheduled_tokens, slice.num_scheduled_tokens);
    } else if (piece_ && scheduler_.is_live(piece_->id) && scheduler_.sequence(piece_->id).slot) {
      ASSERT_NE(scheduler_.sequence(piece_->id).admission, piece_->admission) << "hidden states are overwritten";
    }
    piece_ = slice.layers->is_last ? std::nullopt : std::optional(slice);
  }

  void check_plan(const Plan& plan) {
    ASSERT_FALSE(plan.sequences.empty());
    ASSERT_LE(plan.num_tokens, config_.max_num_batched_tokens);
    ASSERT_LE(static_cast<int>(plan.sequences.size()), config_.max_num_seqs);
    std::set<SlotId> slots;
    int sum = 0;
    for (const ScheduledSequence& scheduled : plan.sequences) {
      const Sequence& sequence = scheduler_.sequence(scheduled.id);
      ASSERT_TRUE(slots.insert(scheduled.slot).second);
      ASSERT_GT(scheduled.num_scheduled_tokens, 0);
      sum += scheduled.num_scheduled_tokens;
      const int end = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
      ASSERT_GE(static_cast<int>(sequence.table.blocks.size()) * config_.block_size, end) << "a token without a place";
      ASSERT_LE(end, config_.max_model_len);
    }
    ASSERT_EQ(sum, plan.num_tokens);
    check_grains(plan);
    for (const RequestId id : plan.preempted) {
      Client& client = clients_.at(id);
      ++client.num_preemptions_in_a_row;
      ASSERT_TRUE(id != oldest() || client.num_preemptions_in_a_row <= 1) << "the oldest is preempted twice running";
    }
  }

  // A mixed step in which a prompt was cut short fills whole grains, unless prompts then got less than one. An answer
  // that finds no room leaves its token's place empty.
  void check_grains(const Plan& plan) {
    int num_answers = 0, num_cut = 0;
    for (const ScheduledSequence& scheduled : plan.sequences) {
      num_answers += scheduled.num_known_tokens() == 1 && scheduled.wants_token && !scheduled.is_new ? 1 : 0;
      num_cut += scheduled.wants_token ? 0 : 1;
    }
    const bool is_whole = scheduler_.stats().num_running == static_cast<int>(plan.sequences.size());
    if (plan.layered() != nullptr || num_answers == 0 || num_cut == 0 || !is_whole || !plan.preempted.empty()) return;
    const int in_grains = plan.num_tokens / config_.mixed_step_grain * config_.mixed_step_grain;
    ASSERT_TRUE(plan.num_tokens == in_grains || in_grains - num_answers < config_.mixed_step_grain)
        << plan.num_tokens << " tokens, " << num_answers << " of answers, grain " << config_.mixed_step_grain;
  }

  RequestId oldest() const {
    for (const auto& [id, client] : clients_) {
      if (!client.finish) return id;
    }
    return {};
  }

  // What the step reads and writes in memory. False: the sequence has lost its place, what is computed is void.
  bool touch_memory(const ScheduledSequence& scheduled, const std::vector<BlockId>& blocks) {
    const auto first = static_cast<size_t>(scheduled.num_computed_tokens);
    const size_t end = first + static_cast<size_t>(scheduled.num_scheduled_tokens);
    const Sequence* sequence = scheduler_.is_live(scheduled.id) ? &scheduler_.sequence(scheduled.id) : nullptr;
    if (sequence == nullptr || !sequence->slot || sequence->admission != scheduled.admission) {
      memory_.spoil(blocks, first, end);
      return false;
    }
    std::vector<TokenId> tokens = sequence->tokens;
    tokens.resize(end - scheduled.draft_tokens.size());
    tokens.insert(tokens.end(), scheduled.draft_tokens.begin(), scheduled.draft_tokens.end());
    const std::string& salt = sequence->request.cache_salt;
    const size_t wrong = memory_.first_wrong(blocks, salt, tokens, first);
    EXPECT_EQ(wrong, first) << scheduled.id.value << " reads what is not its own";
    if (!scheduled.is_complete()) memory_.spoil(blocks, first, end);   // of some layers only
    if (!scheduled.is_complete()) return true;
    memory_.write(blocks, salt, tokens, first);
    return true;
  }

  // Numbers that are none may stand in all that a sequence wrote and shares with nobody that runs.
  void spoil_own(RequestId id, const std::vector<BlockId>& blocks) {
    std::set<BlockId> others;
    for (const auto& [other, client] : clients_) {
      if (other == id || client.finish) continue;
      const std::vector<BlockId>& held = scheduler_.sequence(other).table.blocks;
      others.insert(held.begin(), held.end());
    }
    for (const BlockId block : blocks) {
      if (!others.contains(block)) memory_.spoil(std::span(&block, 1), 0, static_cast<size_t>(config_.block_size));
    }
  }

  SequenceResult compute(const ScheduledSequence& scheduled, const std::vector<BlockId>& blocks) {
    SequenceResult result;
    if (!touch_memory(scheduled, blocks)) {
      if (scheduled.wants_token) result.tokens = {between(0, 49)};   // a device computes it all the same
      return result;
    }
    const PromptRange range = scheduled.prompt_logprobs;
    if (!range.is_empty()) result.prompt_logprobs.resize(static_cast<size_t>(range.end - range.first));
    if (!scheduled.wants_token) return result;
    // a step may end without a token if nobody counts on it
    if (depth_ == 1 && chance(0.01)) return result;
    if (chance(0.002)) {
      result.error = Error{ErrorCode::kInternal, "not a number"};
      spoil_own(scheduled.id, blocks);
      return result;
    }
    std::vector<TokenId> tokens = scheduler_.sequence(scheduled.id).tokens;
    for (size_t i = 0;; ++i) {                                   // verify the drafts one by one
      const TokenId token = next_token(tokens);
      tokens.push_back(token);
      result.tokens.push_back(token);
      if (i >= scheduled.draft_tokens.size() || scheduled.draft_tokens[i] != token) break;
    }
    if (!speculates_) return result;
    for (int i = between(0, 4); i > 0; --i) {                    // right guesses and wrong ones
      const TokenId guess = chance(0.7) ? next_token(tokens) : between(0, 49);
      tokens.push_back(guess);
      result.next_drafts.push_back(guess);
    }
    return result;
  }

  void deliver(const SequenceOutput& output) {
    Client& client = clients_.at(output.id);
    ASSERT_FALSE(client.finish) << "something came after the finish of " << output.id.value;
    client.output.insert(client.output.end(), output.tokens.begin(), output.tokens.end());
    num_delivered_ += output.tokens.size();
    if (output.num_cached_tokens) {
      ASSERT_FALSE(std::exchange(client.knows_cached_tokens, true)) << "cached tokens are told twice";
      ASSERT_LE(*output.num_cached_tokens, static_cast<int>(client.submit.prompt.size()));
    }
    client.num_prompt_logprobs += static_cast<int>(output.prompt_logprobs.size());
    if (!output.tokens.empty()) client.num_preemptions_in_a_row = 0;
    client.finish = output.finish;
    if (output.finish != FinishReason::kError) return;
    ASSERT_TRUE(output.error) << "failed without saying why";
    failures_.insert(output.error->message);
  }

  void audit() {
    const KvCache::Audit audit = scheduler_.check_integrity();
    ASSERT_EQ(audit.problem, "");
    ASSERT_EQ(audit.num_leaked_blocks, 0);
  }

  void check_clients() {
    for (const auto& [id, client] : clients_) {
      ASSERT_TRUE(client.finish) << "client " << id.value << " waits for ever";
      ASSERT_EQ(client.is_cancelled, *client.finish == FinishReason::kCancelled);
      if (client.is_cancelled || *client.finish == FinishReason::kError) continue;
      if (already_over(client.submit)) continue;
      const auto [tokens, reason] = expected_output(client.submit, config_.max_model_len);
      ASSERT_EQ(client.output, tokens) << "client " << id.value;
      ASSERT_EQ(*client.finish, reason);
      const bool asked = client.submit.sampling.num_prompt_logprobs >= 0 && client.submit.output.empty();
      ASSERT_EQ(client.num_prompt_logprobs, asked ? static_cast<int>(client.submit.prompt.size()) - 1 : 0);
    }
    const Stats stats = scheduler_.stats();
    ASSERT_EQ(stats.num_free_blocks, stats.num_blocks) << "all finished, yet blocks are taken";
    ASSERT_EQ(stats.num_running + stats.num_waiting, 0);
  }

  // Submitted with an output that a stop token or the limits end.
  bool already_over(const Submit& submit) const {
    const auto num_output = static_cast<int>(submit.output.size());
    return num_output >= submit.stop.max_tokens ||
           static_cast<int>(submit.prompt.size()) + num_output >= config_.max_model_len ||
           (num_output > submit.stop.min_tokens && submit.output.back() == kStopToken);
  }

  std::mt19937_64 random_;
  double arrival_chance_ = 0, priority_chance_ = 0;
  bool speculates_ = false;
  int num_clients_ = 0;
  SchedulerConfig config_;
  Scheduler scheduler_;
  FakeMemory memory_;
  uint64_t num_delivered_ = 0;
  size_t depth_ = 1;
  std::deque<Flight> in_flight_;
  std::optional<ScheduledSequence> piece_;             // the last slice of layers, if others follow
  uint64_t num_slices_ = 0;
  std::vector<TokenId> shared_prefix_;
  std::map<RequestId, Client> clients_;                // in order of arrival
  std::set<std::string> failures_;
};

TEST(SchedulerSimulation, rules_hold_after_every_step_of_random_stories) {
  uint64_t num_steps = 0, num_preemptions = 0, num_slices = 0;
  const auto is_enough = [&](int seed) {
    if (only_seed >= 0) return seed > only_seed;
    return seed > num_seeds && num_steps >= static_cast<uint64_t>(num_steps_wanted);
  };
  int seed = only_seed >= 0 ? only_seed : 1;
  for (; !is_enough(seed); ++seed) {
    SCOPED_TRACE("reproduce with --seed=" + std::to_string(seed));
    Simulation simulation(static_cast<uint64_t>(seed));
    simulation.run();
    if (HasFailure()) return;
    num_steps += simulation.num_steps();
    num_preemptions += simulation.num_preemptions();
    num_slices += simulation.num_slices();
  }
  std::printf("%d seeds, %llu steps, %llu preemptions, %llu slices of layers\n", only_seed >= 0 ? 1 : seed - 1,
              static_cast<unsigned long long>(num_steps), static_cast<unsigned long long>(num_preemptions),
              static_cast<unsigned long long>(num_slices));
  EXPECT_TRUE(only_seed >= 0 || num_slices > static_cast<uint64_t>(num_seeds)) << "hardly a prompt went by layers";
  EXPECT_TRUE(only_seed >= 0 || num_preemptions > static_cast<uint64_t>(num_seeds))
      << "no memory pressure: the stories test little";
}

// The share of the computed tokens that is not computed again, where what runs would on average fill 120 % of memory,
// each sequence half grown. All finish.
double useful_share_at_120_percent(uint32_t seed) {
  constexpr int kUsers = 24, kPrompt = 64, kOutput = 256, kBlock = 16;
  SchedulerConfig config{
      .max_num_seqs = kUsers, .max_num_batched_tokens = 512, .max_model_len = 512, .block_size = kBlock};
  config.num_blocks = kUsers * (kPrompt + kOutput / 2) / kBlock * 10 / 12;
  config.enable_prefix_caching = false;                // a hit after a preemption would hide the waste
  Scheduler scheduler(config);
  std::mt19937_64 random(seed);
  uint64_t num_computed = 0, num_useful = 0;
  int num_finished = 0;
  for (int user = 0; user < 4 * kUsers; ++user) {
    Submit submit;
    submit.id = {static_cast<uint64_t>(user) + 1};
    const int num_prompt = std::uniform_int_distribution<int>(kPrompt / 2, kPrompt * 3 / 2)(random);
    const int num_output = std::uniform_int_distribution<int>(kOutput / 2, kOutput * 3 / 2)(random);
    for (int i = 0; i < num_prompt; ++i) submit.prompt.push_back(static_cast<TokenId>(random() % 50));
    submit.stop = {.max_tokens = num_output};
    EXPECT_FALSE(scheduler.add(std::move(submit)));
    num_useful += static_cast<uint64_t>(num_prompt + num_output);
  }
  while (scheduler.has_work()) {
    const Plan plan = scheduler.schedule();
    num_computed += static_cast<uint64_t>(plan.num_tokens);
    std::vector<SequenceResult> results(plan.sequences.size());
    for (size_t i = 0; i < results.size(); ++i) {
      if (plan.sequences[i].wants_token) results[i].tokens = {1};
    }
    for (const SequenceOutput& output : scheduler.commit(plan, std::move(results)))
      num_finished += output.finish ? 1 : 0;
  }
  EXPECT_EQ(num_finished, 4 * kUsers);
  EXPECT_GT(scheduler.stats().num_preemptions, 0U);
  return static_cast<double>(num_useful) / static_cast<double>(num_computed);
}

TEST(SchedulerSimulation, at_120_percent_demand_four_fifths_of_the_work_is_useful) {
  double least = 1;
  for (uint32_t seed = 1; seed <= 50; ++seed) least = std::min(least, useful_share_at_120_percent(seed));
  std::printf("at least %.1f %% of the computed tokens are useful\n", 100 * least);
  EXPECT_GE(least, 0.8);
}

}  // namespace

bool read_flag(std::string_view argument, std::string_view name, int& value) {
  if (!argument.starts_with(name)) return false;
  argument.remove_prefix(name.size());
  return std::from_chars(argument.data(), argument.data() + argument.size(), value).ec == std::errc();
}

}  // namespace gale

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    const bool is_known = gale::read_flag(argv[i], "--seeds=", gale::num_seeds) ||
                          gale::read_flag(argv[i], "--seed=", gale::only_seed) ||
                          gale::read_flag(argv[i], "--steps=", gale::num_steps_wanted);
    if (!is_known) {
      std::fprintf(stderr, "unknown flag %s; there are --seeds=N, --steps=N and --seed=S\n", argv[i]);
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
