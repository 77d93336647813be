#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/guarded.h"
#include "channel/channel.h"
#include "request/messages.h"
#include "serving/engine_process.h"
#include "serving/seed.h"

// For tests: an engine in a thread that computes nothing, keeps the channel's contract, and dies or hangs on demand.
namespace gale {

// One engine's life, from launch to death.
struct FakeLife {
  std::optional<Error> load_fault;              // says so instead of Ready, and exits
  bool dies_while_loading = false;
  int tokens_until_death = -1;                  // exits in the middle of a step after so many tokens; -1: lives on
  int tokens_until_stall = -1;                  // falls silent, but keeps its channel open
  int tokens_per_step = 1;
  TokenId poison = -1;                          // dies before the step of a prompt with this token
  std::chrono::milliseconds load_time{0};
  std::chrono::milliseconds step_time{0};
};

struct FakeEngineConfig {
  std::function<FakeLife(int life)> life = [](int) { return FakeLife{}; };
  // The token at a position of the output. Depends on what a sequence is, not on when it is computed.
  std::function<TokenId(const Submit&, size_t position)> token = [](const Submit& submit, size_t position) {
    uint64_t hash = mix_bits(submit.sampling.seed ^ position);
    for (const TokenId id : submit.prompt) hash = mix_bits(hash ^ static_cast<uint64_t>(id));
    return static_cast<TokenId>(hash % 8000);
  };
  // False: not yet. Asked again and again on the engine's thread: tests hold an engine here, and do not count on time.
  std::function<bool(int life)> may_get_ready = [](int) { return true; };
  std::function<bool(int num_tokens)> may_step = [](int) { return true; };   // tokens sent in this life
  int max_model_len = 512;
  int max_num_seqs = 8;
  int vocab_size = 8192;
};

// What the fakes of one launcher were told, over all lives.
struct FakeRecord {
  int num_lives = 0;
  int num_kills = 0;
  int num_live = 0;                             // sequences the engine that runs now works on
  std::vector<Submit> submits;
  std::vector<RequestId> cancels;
};

class FakeEngine final : public EngineProcess {
 public:
  FakeEngine(FakeEngineConfig config, FakeLife life, int number, std::shared_ptr<Guarded<FakeRecord>> record)
      : config_(std::move(config)), life_(life), number_(number), record_(std::move(record)) {
    InProcessChannel ends = make_in_process_channel();
    front_ = std::move(ends.front);
    thread_ = std::thread([this, engine = std::move(ends.engine)]() mutable {
      live(*engine);
      engine.reset();
      has_ended_ = true;
    });
  }
  ~FakeEngine() override {
    is_killed_ = true;
    front_.reset();
    thread_.join();
  }
  FrontChannel& channel() override { return *front_; }
  std::optional<std::string> ending() override {
    return has_ended_ ? std::optional<std::string>("the fake ended") : std::nullopt;
  }
  void kill() override {
    if (!has_ended_) record_->with([](auto& record) { ++record.num_kills; });
    is_killed_ = true;
  }

 private:
  void nap(std::chrono::milliseconds time) const {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!is_killed_ && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  void live(EngineChannel& channel) {
    nap(life_.load_time);
    while (!is_killed_ && !config_.may_get_ready(number_)) nap(std::chrono::milliseconds(1));
    if (life_.load_fault) return static_cast<void>(channel.send(Fault{*life_.load_fault}));
    if (life_.dies_while_loading) return;
    record_->with([](auto& record) { record.num_live = 0; });
    const Ready ready{.model_name = "fake", .max_model_len = config_.max_model_len, .vocab_size = config_.vocab_size,
                      .block_size = 16, .num_blocks = 64, .max_num_seqs = config_.max_num_seqs};
    if (!channel.send(ready)) return;
    while (!is_killed_) {
      const auto commands = channel.receive(std::chrono::milliseconds(rests() ? 2 : 0));
      if (!commands) return;
      for (const ToEngine& command : *commands) take(command);
      if (!step(channel)) return;
      if (!channel.send(Stats{.step = step_, .num_running = static_cast<int>(sequences_.size())})) return;
      record_->with([this](auto& record) { record.num_live = static_cast<int>(sequences_.size()); });
      if (!sequences_.empty()) nap(life_.step_time);
    }
  }

  void take(const ToEngine& command) {
    if (const auto* submit = std::get_if<Submit>(&command)) {
      sequences_.push_back(*submit);
      is_first_output_.push_back(true);
      record_->with([&](auto& record) { record.submits.push_back(*submit); });
    } else if (const auto* cancel = std::get_if<Cancel>(&command)) {
      record_->with([&](auto& record) { record.cancels.push_back(cancel->id); });
      for (size_t i = 0; i < sequences_.size(); ++i) {
        if (sequences_[i].id == cancel->id) remove(i);
      }
    }
  }

  bool rests() const { return sequences_.empty() || !config_.may_step(num_tokens_); }

  bool tell_places(EngineChannel& channel) {
    StepOutput places{.step = step_};
    for (size_t i = 0; i < sequences_.size(); ++i) {
      const bool runs = i < static_cast<size_t>(config_.max_num_seqs);
      places.sequences.push_back({.id = sequences_[i].id});
      if (runs) places.sequences.back().num_cached_tokens = number_;
    }
    return channel.send(places).has_value();
  }

  bool runs_poison() const {
    const size_t num_running = std::min(sequences_.size(), static_cast<size_t>(config_.max_num_seqs));
    return std::ranges::any_of(std::span(sequences_).first(num_running), [this](const Submit& submit) {
      return std::ranges::find(submit.prompt, life_.poison) != submit.prompt.end();
    });
  }

  void remove(size_t index) {
    sequences_.erase(sequences_.begin() + static_cast<ptrdiff_t>(index));
    is_first_output_.erase(is_first_output_.begin() + static_cast<ptrdiff_t>(index));
  }

  // False: this life is over.
  bool step(EngineChannel& channel) {
    if (rests()) return true;
    if (!tell_places(channel) || runs_poison()) return false;
    StepOutput out{.step = ++step_};
    for (size_t i = 0; i < sequences_.size() && i < static_cast<size_t>(config_.max_num_seqs);) {
      if (has_reached(life_.tokens_until_stall)) return stall(channel, out);
      if (has_reached(life_.tokens_until_death)) break;
      out.sequences.push_back(advance(i));
      out.sequences.back().finish ? remove(i) : static_cast<void>(++i);
    }
    return channel.send(out).has_value() && !has_reached(life_.tokens_until_death);
  }

  bool has_reached(int num_tokens) const { return num_tokens >= 0 && num_tokens_ >= num_tokens; }

  bool stall(EngineChannel& channel, const StepOutput& out) {
    if (!out.sequences.empty() && !channel.send(out)) return false;
    while (!is_killed_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return false;
  }

  SequenceOutput advance(size_t index) {
    Submit& submit = sequences_[index];
    SequenceOutput out{.id = submit.id};
    out.time.running_us = 2000;
    if (is_first_output_[index]) first_output(submit, out);
    is_first_output_[index] = false;
    if (submit.pooling != Pooling::kNone) {
      for (const TokenId id : submit.prompt) out.pooled.push_back(static_cast<float>(id));
      out.finish = FinishReason::kStop;
      ++num_tokens_;
    }
    for (int i = 0; i < life_.tokens_per_step && !out.finish; ++i) {
      const TokenId token = config_.token(submit, submit.output.size());
      submit.output.push_back(token);
      out.tokens.push_back(token);
      if (submit.sampling.num_logprobs >= 0) out.logprobs.push_back({{token, -0.5F, 1}, {}});
      ++num_tokens_;
      const auto& stops = submit.stop.stop_token_ids;
      const int count = static_cast<int>(submit.output.size());
      if (std::find(stops.begin(), stops.end(), token) != stops.end() && count > submit.stop.min_tokens) {
        out.stop_token = token;
        out.finish = FinishReason::kStop;
      } else if (count >= submit.stop.max_tokens) {
        out.finish = FinishReason::kLength;
      }
    }
    return out;
  }

  void first_output(const Submit& submit, SequenceOutput& out) const {
    out.num_cached_tokens = number_;
    out.time.waiting_us = 1000;
    if (submit.sampling.num_prompt_logprobs < 0) return;
    for (size_t i = 1; i < submit.prompt.size(); ++i) out.prompt_logprobs.push_back({{submit.prompt[i], -1.0F, 1}, {}});
  }

  const FakeEngineConfig config_;
  const FakeLife life_;
  const int number_;                            // of this life, from 1
  const std::shared_ptr<Guarded<FakeRecord>> record_;
  std::unique_ptr<FrontChannel> front_;
  std::atomic<bool> is_killed_ = false;
  std::atomic<bool> has_ended_ = false;
  std::vector<Submit> sequences_;
  std::vector<bool> is_first_output_;
  uint64_t step_ = 0;
  int num_tokens_ = 0;                          // sent in this life
  std::thread thread_;
};

[[nodiscard]] inline EngineLauncher fake_launcher(FakeEngineConfig config,
                                                  std::shared_ptr<Guarded<FakeRecord>> record) {
  return [config = std::move(config), record = std::move(record)]() -> Result<std::unique_ptr<EngineProcess>> {
    const int number = record->with([](auto& all) { return ++all.num_lives; });
    return std::make_unique<FakeEngine>(config, config.life(number), number, record);
  };
}

}  // namespace gale
