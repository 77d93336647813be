#include "engine/batch_builder.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/attention.h"
#include "sampling/staging.h"

namespace gale {
namespace {

constexpr int kRopeAxes = 3;

bool attends_to_logit_rows_alone(const Device& device) { return device.caps().kind == DeviceKind::kCpu; }

int max_blocks_per_sequence(const SchedulerConfig& config) {
  return (config.max_model_len + config.block_size - 1) / config.block_size;
}

}  // namespace

struct BatchBuilder::State {
  PackedUpload upload;
  SchedulerConfig config;
  bool attends_to_logit_rows_alone = false;
  AttentionMetadata attention = {}, logit_attention = {};
  Tensor token_ids = {}, logit_rows = {};
  std::vector<PromptChunk> chunks = {};
  std::vector<size_t> order = {}, drawn = {};       // indices in the plan: of the rows, of the logits
  std::vector<int> first_rows = {};                 // by index in the plan
  int num_plain = 0;

  void sort(const Plan& plan, const std::vector<bool>& is_special);
  void put_tokens(const Plan& plan, const Scheduler& scheduler, int num_tokens);
  void put_sequences(const Plan& plan, const Scheduler& scheduler, int num_seqs);
  [[nodiscard]] Tensor put_tables(const Plan& plan, const Scheduler& scheduler, const std::vector<size_t>& indices,
                                  int num_seqs, int width);
  void put_logit_attention(const Plan& plan, const Scheduler& scheduler);
  void put_logit_rows(const Plan& plan, const std::vector<bool>& is_special);
};

BatchBuilder::BatchBuilder(std::unique_ptr<State> state) : state_(std::move(state)) {}
BatchBuilder::~BatchBuilder() = default;

size_t BatchBuilder::num_bytes(const Device& device, const SchedulerConfig& config) {
  const auto tokens = static_cast<size_t>(std::max(config.max_num_batched_tokens, config.max_num_seqs));
  const auto seqs = static_cast<size_t>(config.max_num_seqs);
  const size_t table = seqs * static_cast<size_t>(max_blocks_per_sequence(config));
  const size_t of_sequences =
      2 * Arena::padded((seqs + 1) * sizeof(int32_t)) + Arena::padded(table * sizeof(int32_t));
  const size_t of_logit_rows =
      Arena::padded(kRopeAxes * seqs * sizeof(int32_t)) + Arena::padded(seqs * sizeof(int64_t)) + of_sequences;
  return Arena::padded(tokens * sizeof(int32_t)) + Arena::padded(kRopeAxes * tokens * sizeof(int32_t)) +
         Arena::padded(tokens * sizeof(int64_t)) + of_sequences + Arena::padded((seqs + 1) * sizeof(int32_t)) +
         (attends_to_logit_rows_alone(device) ? of_logit_rows : 0);
}

Result<std::unique_ptr<BatchBuilder>> BatchBuilder::create(Device& device, const SchedulerConfig& config,
                                                           int num_buffers) {
  GALE_ASSIGN(PackedUpload upload, PackedUpload::create(device, num_bytes(device, config), num_buffers));
  return std::unique_ptr<BatchBuilder>(new BatchBuilder(std::unique_ptr<State>(
      new State{.upload = std::move(upload),
                .config = config,
                .attends_to_logit_rows_alone = gale::attends_to_logit_rows_alone(device)})));
}

void BatchBuilder::State::sort(const Plan& plan, const std::vector<bool>& is_special) {
  order.resize(plan.sequences.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) {
    if (plan.sequences[i].layers) return std::numeric_limits<int>::max();
    const int num_tokens = plan.sequences[i].num_scheduled_tokens;   // short pieces of prompts beside the single tokens
    return num_tokens > 1 ? num_tokens : is_special[i] ? 1 : 0;
  });
  attention.num_decodes = static_cast<int>(
      std::ranges::count_if(plan.sequences, [](const ScheduledSequence& s) { return s.num_scheduled_tokens == 1; }));
}

void BatchBuilder::State::put_tokens(const Plan& plan, const Scheduler& scheduler, int num_tokens) {
  const auto ids = upload.put<int32_t>({num_tokens});
  const auto positions = upload.put<int32_t>({kRopeAxes, num_tokens});
  const auto slots = upload.put<int64_t>({num_tokens});
  const int block_size = config.block_size;
  size_t row = 0;
  for (const size_t index : order) {
    const ScheduledSequence& scheduled = plan.sequences[index];
    const Sequence& sequence = scheduler.sequence(scheduled.id);
    const int num_known = scheduled.num_known_tokens();
    first_rows[index] = static_cast<int>(row);
    for (int i = 0; i < scheduled.num_scheduled_tokens; ++i, ++row) {
      const int position = scheduled.num_computed_tokens + i;
      const bool is_drawn = position < sequence.num_tokens();   // else the step before, still under way, draws it
      ids.host[row] = i >= num_known ? scheduled.draft_tokens[static_cast<size_t>(i - num_known)]
                      : is_drawn     ? sequence.tokens[static_cast<size_t>(position)]
                                     : -1 - scheduled.slot.value;
      positions.host[row] = position;
      const BlockId block = sequence.table.blocks.at(static_cast<size_t>(position / block_size));
      slots.host[row] = int64_t{block.value} * block_size + position % block_size;
    }
  }
  std::fill(ids.host.begin() + static_cast<std::ptrdiff_t>(row), ids.host.end(), 0);
  std::fill(positions.host.begin() + static_cast<std::ptrdiff_t>(row), positions.host.begin() + num_tokens, 0);
  std::fill(slots.host.begin() + static_cast<std::ptrdiff_t>(row), slots.host.end(), -1);
  // Text: the rope axes T, H and W are equal.
  for (int axis = 1; axis < kRopeAxes; ++axis) {
    std::copy_n(positions.host.begin(), num_tokens, positions.host.begin() + axis * num_tokens);
  }
  token_ids = ids.device;
  attention.positions = positions.device;
  attention.slot_mapping = slots.device;
  attention.num_tokens = num_tokens;
}

void BatchBuilder::State::put_sequences(const Plan& plan, const Scheduler& scheduler, int num_seqs) {
  const auto starts = upload.put<int32_t>({num_seqs + 1});
  const auto lengths = upload.put<int32_t>({num_seqs});
  chunks.clear();
  int start = 0, longest = 1;
  size_t s = 0;
  for (const size_t index : order) {
    const ScheduledSequence& scheduled = plan.sequences[index];
    starts.host[s] = start;
    start += scheduled.num_scheduled_tokens;
    lengths.host[s] = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
    longest = std::max(longest, lengths.host[s]);
    attention.max_query_len = std::max(attention.max_query_len, scheduled.num_scheduled_tokens);
    if (scheduled.num_scheduled_tokens > 1) chunks.push_back({scheduled.num_scheduled_tokens, lengths.host[s]});
    ++s;
  }
  for (; s < static_cast<size_t>(num_seqs); ++s) {   // padding
    starts.host[s] = start++;
    lengths.host[s] = 0;
  }
  starts.host[s] = start;
  if (attention.max_seq_len == 0) attention.max_seq_len = longest;   // else the bound of a captured step
  attention.query_start_loc = starts.device;
  attention.seq_lens = lengths.device;
  attention.num_seqs = num_seqs;
  attention.chunks = chunks;
  const int width = (attention.max_seq_len + config.block_size - 1) / config.block_size;
  attention.block_tables = put_tables(plan, scheduler, order, num_seqs, width);
}

// Of the sequences of these indices in the plan; padded to num_seqs.
Tensor BatchBuilder::State::put_tables(const Plan& plan, const Scheduler& scheduler,
                                       const std::vector<size_t>& indices, int num_seqs, int width) {
  const auto tables = upload.put<int32_t>({num_seqs, width});
  int32_t* to = tables.host.data();
  for (const size_t index : indices) {
    const std::vector<BlockId>& blocks = scheduler.sequence(plan.sequences[index].id).table.blocks;
    // beyond: reserved for tokens of later steps
    const auto count = std::min(static_cast<std::ptrdiff_t>(width), std::ssize(blocks));
    const auto end =
        std::transform(blocks.begin(), blocks.begin() + count, to, [](BlockId block) { return block.value; });
    std::fill(end, to + width, 0);
    to += width;
  }
  std::fill(to, tables.host.data() + tables.host.size(), 0);
  return tables.device;
}

void BatchBuilder::State::put_logit_rows(const Plan& plan, const std::vector<bool>& is_special) {
  drawn.clear();
  for (const bool special : {false, true}) {
    for (const size_t index : order) {
      if (plan.sequences[index].wants_token && is_special[index] == special) drawn.push_back(index);
    }
    if (!special) num_plain = static_cast<int>(drawn.size());
  }
  const auto rows = upload.put<int32_t>({std::ssize(drawn)});
  size_t r = 0;
  for (const size_t index : drawn) rows.host[r++] = first_rows[index] + plan.sequences[index].num_scheduled_tokens - 1;
  logit_rows = rows.device;
}

// Each drawn row as a sequence whose one query is its last token.
void BatchBuilder::State::put_logit_attention(const Plan& plan, const Scheduler& scheduler) {
  const auto num_rows = static_cast<int>(drawn.size());
  const auto starts = upload.put<int32_t>({num_rows + 1});
  const auto lengths = upload.put<int32_t>({num_rows});
  const auto positions = upload.put<int32_t>({kRopeAxes, num_rows});
  const auto slots = upload.put<int64_t>({num_rows});
  std::ranges::fill(slots.host, -1);   // their keys are written already
  std::iota(starts.host.begin(), starts.host.end(), 0);
  for (size_t r = 0; r < drawn.size(); ++r) {
    const ScheduledSequence& scheduled = plan.sequences[drawn[r]];
    lengths.host[r] = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
    for (size_t axis = 0; axis < kRopeAxes; ++axis) positions.host[axis * drawn.size() + r] = lengths.host[r] - 1;
  }
  const auto width = static_cast<int>(attention.block_tables.shape[1]);
  logit_attention = {.query_start_loc = starts.device,
                     .seq_lens = lengths.device,
                     .block_tables = put_tables(plan, scheduler, drawn, num_rows, width),
                     .slot_mapping = slots.device,
                     .positions = positions.device,
                     .num_seqs = num_rows,
                     .num_tokens = num_rows,
                     .num_decodes = num_rows,
                     .max_query_len = 1,
                     .max_seq_len = attention.max_seq_len,
                     .block_size = config.block_size};
}

void BatchBuilder::build(Stream& stream, const Plan& plan, const Scheduler& scheduler,
                         const std::vector<bool>& is_special, int num_rows) {
  State& state = *state_;
  CHECK(num_rows == 0 || num_rows >= plan.num_tokens, "{} tokens in {} rows", plan.num_tokens, num_rows);
  const int num_seqs = num_rows > 0 ? num_rows : static_cast<int>(plan.sequences.size());
  state.attention = {};
  state.attention.block_size = state.config.block_size;
  if (num_rows > 0) state.attention.max_query_len = 1, state.attention.max_seq_len = state.config.max_model_len;
  state.first_rows.assign(plan.sequences.size(), 0);
  state.upload.begin();
  state.sort(plan, is_special);
  if (num_rows > 0) state.attention.num_decodes = num_rows;
  state.put_tokens(plan, scheduler, num_rows > 0 ? num_rows : plan.num_tokens);
  state.put_sequences(plan, scheduler, num_seqs);
  state.put_logit_rows(plan, is_special);
  state.logit_attention = {};
  const bool has_others = std::ssize(state.drawn) < plan.num_tokens;
  if (state.attends_to_logit_rows_alone && has_others) state.put_logit_attention(plan, scheduler);
  state.upload.send(stream);
}

const AttentionMetadata& BatchBuilder::attention() const { return state_->attention; }
const Tensor& BatchBuilder::token_ids() const { return state_->token_ids; }
const Tensor& BatchBuilder::logit_rows() const { return state_->logit_rows; }
const AttentionMetadata& BatchBuilder::logit_attention() const { return state_->logit_attention; }
std::span<const size_t> BatchBuilder::drawn() const { return state_->drawn; }
int BatchBuilder::num_plain_rows() const { return state_->num_plain; }
int BatchBuilder::first_row(size_t index) const { return state_->first_rows.at(index); }

}  // namespace gale
