#include "engine/batch_builder.h"

#include <algorithm>
#include <vector>

#include "ops/attention.h"
#include "sampling/staging.h"

namespace gale {
namespace {

constexpr int kRopeAxes = 3;

int max_blocks_per_sequence(const SchedulerConfig& config) {
  return (config.max_model_len + config.block_size - 1) / config.block_size;
}

}  // namespace

struct BatchBuilder::State {
  Staging staging;
  int block_size = 0;
  AttentionMetadata attention = {};
  Tensor token_ids = {};
  std::vector<int32_t> tokens = {}, positions = {}, starts = {}, lengths = {}, tables = {};   // reused from step to step
  std::vector<int64_t> slots = {};

  void add_sequence(const ScheduledSequence& scheduled, const Sequence& sequence);
  void add_tables(const Plan& plan, const Scheduler& scheduler);
};

BatchBuilder::BatchBuilder(std::unique_ptr<State> state) : state_(std::move(state)) {}
BatchBuilder::~BatchBuilder() = default;

size_t BatchBuilder::num_bytes(const SchedulerConfig& config) {
  const auto tokens = static_cast<size_t>(config.max_num_batched_tokens), seqs = static_cast<size_t>(config.max_num_seqs);
  const size_t table = seqs * static_cast<size_t>(max_blocks_per_sequence(config));
  return Arena::padded(tokens * sizeof(int32_t)) + Arena::padded(kRopeAxes * tokens * sizeof(int32_t)) +
         Arena::padded(tokens * sizeof(int64_t)) + 2 * Arena::padded((seqs + 1) * sizeof(int32_t)) + Arena::padded(table * sizeof(int32_t));
}

Result<std::unique_ptr<BatchBuilder>> BatchBuilder::create(Device& device, const SchedulerConfig& config) {
  GALE_ASSIGN(Staging staging, Staging::create(device, num_bytes(config)));
  auto state = std::unique_ptr<State>(new State{.staging = std::move(staging), .block_size = config.block_size});
  return std::unique_ptr<BatchBuilder>(new BatchBuilder(std::move(state)));
}

void BatchBuilder::State::add_sequence(const ScheduledSequence& scheduled, const Sequence& sequence) {
  const int num_known = scheduled.num_scheduled_tokens - static_cast<int>(scheduled.draft_tokens.size());
  const auto first = sequence.tokens.begin() + scheduled.num_computed_tokens;
  tokens.insert(tokens.end(), first, first + num_known);
  tokens.insert(tokens.end(), scheduled.draft_tokens.begin(), scheduled.draft_tokens.end());
  const int end = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
  for (int position = scheduled.num_computed_tokens; position < end; ++position) {
    const BlockId block = sequence.table.blocks.at(static_cast<size_t>(position / block_size));
    slots.push_back(int64_t{block.value} * block_size + position % block_size);
    positions.push_back(position);
  }
  starts.push_back(static_cast<int32_t>(tokens.size()));
  lengths.push_back(end);
  attention.max_query_len = std::max(attention.max_query_len, scheduled.num_scheduled_tokens);
  attention.max_seq_len = std::max(attention.max_seq_len, end);
}

void BatchBuilder::State::add_tables(const Plan& plan, const Scheduler& scheduler) {
  const auto width = static_cast<size_t>((attention.max_seq_len + block_size - 1) / block_size);
  tables.assign(plan.sequences.size() * width, 0);
  for (size_t s = 0; s < plan.sequences.size(); ++s) {
    const std::vector<BlockId>& blocks = scheduler.sequence(plan.sequences[s].id).table.blocks;
    const size_t count = std::min(width, blocks.size());   // beyond: reserved for tokens of later steps
    std::transform(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(count),
                   tables.begin() + static_cast<std::ptrdiff_t>(s * width), [](BlockId block) { return block.value; });
  }
}

void BatchBuilder::build(Stream& stream, const Plan& plan, const Scheduler& scheduler) {
  State& state = *state_;
  state.staging.reset();
  for (auto* list : {&state.tokens, &state.positions, &state.starts, &state.lengths}) list->clear();
  state.slots.clear();
  state.attention = {};
  state.attention.block_size = state.block_size;
  state.starts.push_back(0);
  for (const ScheduledSequence& scheduled : plan.sequences) state.add_sequence(scheduled, scheduler.sequence(scheduled.id));
  state.add_tables(plan, scheduler);
  // Text: the rope axes T, H and W are equal.
  const auto num_tokens = static_cast<std::ptrdiff_t>(state.tokens.size());
  state.positions.resize(static_cast<size_t>(kRopeAxes * num_tokens));
  for (int axis = 1; axis < kRopeAxes; ++axis) {
    std::copy_n(state.positions.begin(), num_tokens, state.positions.begin() + axis * num_tokens);
  }

  const auto num_seqs = static_cast<int64_t>(plan.sequences.size());
  AttentionMetadata& attention = state.attention;
  attention.num_seqs = static_cast<int>(num_seqs);
  attention.num_tokens = static_cast<int>(num_tokens);
  state.token_ids = state.staging.upload(stream, state.tokens);
  attention.query_start_loc = state.staging.upload(stream, state.starts);
  attention.seq_lens = state.staging.upload(stream, state.lengths);
  attention.block_tables = state.staging.upload(stream, state.tables, {num_seqs, static_cast<int64_t>(state.tables.size()) / num_seqs});
  attention.slot_mapping = state.staging.upload(stream, state.slots);
  attention.positions = state.staging.upload(stream, state.positions, {kRopeAxes, num_tokens});
}

const AttentionMetadata& BatchBuilder::attention() const { return state_->attention; }
const Tensor& BatchBuilder::token_ids() const { return state_->token_ids; }
int BatchBuilder::first_row(size_t index) const { return state_->starts.at(index); }

}  // namespace gale
