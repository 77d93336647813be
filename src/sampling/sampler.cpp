#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>

#include "ops/sample.h"
#include "sampling/staging.h"

namespace gale {
namespace {

constexpr int64_t kListPiece = 32'768;      // entries of penalties or biases that travel at once
constexpr size_t kPerRowArrays = 16;        // more than the f32 and i64 arrays of one entry a row

int64_t mask_words(int vocab_size) { return (vocab_size + 31) / 32; }

size_t row_staging_bytes(int vocab_size) {
  const size_t rows = Sampler::kMaxRows;
  const size_t tops = 2 * Arena::padded(rows * Sampler::kMaxLogprobs * sizeof(float));
  const size_t masks = Arena::padded(rows * static_cast<size_t>(mask_words(vocab_size)) * sizeof(uint32_t));
  return 2 * tops + masks + 2 * kPerRowArrays * Arena::padded(rows * sizeof(int64_t));
}
size_t list_staging_bytes() {
  return 3 * Arena::padded(kListPiece * sizeof(int32_t)) + 3 * Arena::padded(Sampler::kMaxRows * sizeof(float));
}

// Three f32, two i32 and two i64 arrays of one entry a row; tokens by slot, then of a draw.
size_t plain_bytes(const Sampler::Options& options) {
  const auto rows = static_cast<size_t>(options.num_slots);
  return 5 * Arena::padded(rows * sizeof(float)) + 2 * Arena::padded(rows * sizeof(int64_t));
}
size_t drawn_bytes(const Sampler::Options& options) {
  return 2 * Arena::padded(static_cast<size_t>(options.num_slots) * sizeof(int32_t));
}

bool has_penalties(const SamplingParams& sampling) {
  return sampling.repetition_penalty != 1.0F || sampling.frequency_penalty != 0.0F || sampling.presence_penalty != 0.0F;
}
std::span<const uint32_t> constraint_words(const SamplerRow& row) {
  return row.constraint == nullptr ? std::span<const uint32_t>() : row.constraint->mask().words;
}
bool bans_stop_ids(const SamplerRow& row) {
  return row.position() - row.num_prompt_tokens < row.stop->min_tokens && !row.stop->stop_token_ids.empty();
}
// Of a run that the output must not hold, what came of it last is all but its last token.
bool is_next_bad(const SamplerRow& row, std::span<const TokenId> word) {
  const std::span<const TokenId> output = row.tokens.subspan(static_cast<size_t>(row.num_prompt_tokens));
  const std::span<const TokenId> before = word.first(word.size() - 1);
  return before.size() <= output.size() && std::ranges::equal(before, output.last(before.size()));
}
bool needs_mask(const SamplerRow& row) {
  return !row.sampling->allowed_token_ids.empty() || !row.sampling->bad_words.empty() ||
         !constraint_words(row).empty() || bans_stop_ids(row);
}

// One value a row.
template <class T, class Get>
std::vector<T> per_row(std::span<const SamplerRow> rows, Get get) {
  std::vector<T> values;
  values.reserve(rows.size());
  for (const SamplerRow& row : rows) values.push_back(static_cast<T>(get(row)));
  return values;
}

// What logprobs() wrote, on the device until read.
struct LogprobTensors {
  Tensor chosen, ranks, top_ids, top_logprobs;
};

// The same on the host.
struct LogprobSpans {
  std::span<const float> chosen;
  std::span<const int32_t> ranks, top_ids;
  std::span<const float> top_logprobs;

  [[nodiscard]] TokenLogprobs of_row(size_t row, TokenId token, int num_top, size_t stride) const {
    TokenLogprobs out{.chosen = {token, chosen[row], ranks[row]}};
    for (size_t i = 0; i < static_cast<size_t>(num_top); ++i) {
      const size_t at = row * stride + i;
      out.top.push_back({top_ids[at], top_logprobs[at], static_cast<int>(i) + 1});
    }
    return out;
  }
};

}  // namespace

struct Sampler::State {
  Device& device;
  Options options;
  Staging rows;             // arrays of one entry a row, masks, results
  Staging lists;            // a piece of penalties or biases
  Arena raw_logits;         // before anything changed them
  std::vector<int32_t> counts;   // scratch: by token, -1 if not seen
  PackedUpload plain;       // parameters of draw()
  Arena drawn;              // its tokens on the device, after last_tokens
  std::vector<Arena> told;  // and on the host, a buffer for each draw under way
  Tensor last_tokens = {};
  size_t current = 0;       // of told

  void check_rows(const Tensor& logits, size_t num_rows) const {
    CHECK(num_rows <= kMaxRows && logits.shape == Shape({static_cast<int64_t>(num_rows), options.vocab_size}),
          "{} for {} rows", logits.shape.to_string(), num_rows);
  }
  Tensor keep_raw(OpContext& ops, const Tensor& logits);
  void penalise(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows);
  void bias(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows);
  void mask(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows);
  Tensor draw_rows(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows);
  LogprobTensors logprobs(OpContext& ops, const Tensor& logits, const Tensor& chosen, int num_top);
  LogprobSpans download(Stream& stream, const LogprobTensors& tensors);
  void fill_mask(const SamplerRow& row, std::span<uint32_t> words) const;
};

Sampler::Sampler(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sampler::~Sampler() = default;

size_t Sampler::num_bytes(const Options& options) {
  return row_staging_bytes(options.vocab_size) + list_staging_bytes() + plain_bytes(options) + drawn_bytes(options) +
         Arena::padded(size_t{kMaxRows} * static_cast<size_t>(options.vocab_size) * sizeof(float));
}

Result<std::unique_ptr<Sampler>> Sampler::create(Device& device, const Options& options) {
  GALE_ASSIGN(Staging rows, Staging::create(device, row_staging_bytes(options.vocab_size)));
  GALE_ASSIGN(Staging lists, Staging::create(device, list_staging_bytes()));
  const size_t raw_bytes = size_t{kMaxRows} * static_cast<size_t>(options.vocab_size) * sizeof(float);
  GALE_ASSIGN(Arena raw, Arena::create(device, MemoryKind::kDevice, raw_bytes));
  std::vector<int32_t> counts(static_cast<size_t>(options.vocab_size), -1);
  GALE_ASSIGN(PackedUpload plain, PackedUpload::create(device, plain_bytes(options), options.num_buffers));
  GALE_ASSIGN(Arena drawn, Arena::create(device, MemoryKind::kDevice, drawn_bytes(options)));
  auto state = std::unique_ptr<State>(new State{device,
                                                options,
                                                std::move(rows),
                                                std::move(lists),
                                                std::move(raw),
                                                std::move(counts),
                                                std::move(plain),
                                                std::move(drawn),
                                                {}});
  for (int i = 0; i < options.num_buffers; ++i) {
    GALE_ASSIGN(Arena told, Arena::create(device, MemoryKind::kHostPinned, drawn_bytes(options)));
    state->told.push_back(std::move(told));
  }
  state->last_tokens = state->drawn.allocate(DType::kI32, {options.num_slots});
  return std::unique_ptr<Sampler>(new Sampler(std::move(state)));
}

const Tensor& Sampler::last_tokens() const { return state_->last_tokens; }

bool Sampler::is_plain(const SamplerRow& row) {
  const SamplingParams& sampling = *row.sampling;
  return sampling.num_logprobs < 0 && !has_penalties(sampling) && sampling.logit_bias.empty() &&
         sampling.allowed_token_ids.empty() && sampling.bad_words.empty() && row.constraint == nullptr &&
         !bans_stop_ids(row);
}

std::span<const TokenId> Sampler::draw(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows) {
  if (rows.empty()) return {};
  State& state = *state_;
  const auto num_rows = std::ssize(rows);
  CHECK(num_rows <= state.options.num_slots && logits.shape == Shape({num_rows, state.options.vocab_size}),
        "{} for {} rows", logits.shape.to_string(), num_rows);
  mask_logits(ops, {.logits = logits, .num_valid_tokens = state.options.num_valid_tokens});
  PackedUpload& upload = state.plain;
  upload.begin();
  const auto temperature = upload.put<float>({num_rows}), top_p = upload.put<float>({num_rows}),
             min_p = upload.put<float>({num_rows});
  const auto top_k = upload.put<int32_t>({num_rows}), slots = upload.put<int32_t>({num_rows});
  const auto seeds = upload.put<int64_t>({num_rows}), positions = upload.put<int64_t>({num_rows});
  for (size_t r = 0; r < rows.size(); ++r) {
    const SamplingParams& sampling = *rows[r].sampling;
    temperature.host[r] = sampling.temperature, top_p.host[r] = sampling.top_p, min_p.host[r] = sampling.min_p;
    top_k.host[r] = std::max(0, sampling.top_k), slots.host[r] = rows[r].slot;
    seeds.host[r] = static_cast<int64_t>(sampling.seed), positions.host[r] = rows[r].position();
  }
  upload.send(ops.stream);
  state.drawn.rewind(Arena::padded(state.last_tokens.num_bytes()));
  const Tensor tokens = state.drawn.allocate(DType::kI32, {num_rows});
  gale::sample(ops, {.token_ids = tokens,
                     .logits = logits,
                     .temperature = temperature.device,
                     .top_p = top_p.device,
                     .min_p = min_p.device,
                     .top_k = top_k.device,
                     .seeds = seeds.device,
                     .positions = positions.device,
                     .slots = slots.device,
                     .last_tokens = state.last_tokens});
  state.current = (state.current + 1) % state.told.size();
  Arena& told = state.told[state.current];
  told.reset();
  const Tensor host = told.allocate(DType::kI32, {num_rows});
  state.device.copy(ops.stream, host.data, tokens.data, tokens.num_bytes());
  return {host.as<TokenId>(), rows.size()};
}

std::optional<Error> Sampler::check(const SamplingParams& sampling, int vocab_size) {
  const auto out_of_vocabulary = [vocab_size](TokenId token) { return token < 0 || token >= vocab_size; };
  if (std::max(sampling.num_logprobs, sampling.num_prompt_logprobs) > std::min(kMaxLogprobs, vocab_size)) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("at most {} logprobs a token are given", std::min(kMaxLogprobs, vocab_size)), "logprobs"};
  }
  for (const auto& [token, value] : sampling.logit_bias) {
    if (out_of_vocabulary(token)) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("token {} is not one of the model's {}", token, vocab_size),
                   "logit_bias"};
    }
  }
  if (std::ranges::any_of(sampling.allowed_token_ids, out_of_vocabulary)) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("the model's token ids end at {}", vocab_size - 1),
                 "allowed_token_ids"};
  }
  for (const std::vector<TokenId>& word : sampling.bad_words) {
    if (word.empty() || std::ranges::any_of(word, out_of_vocabulary)) {
      return Error{ErrorCode::kInvalidArgument, fmt::format("the model's token ids end at {}", vocab_size - 1),
                   "bad_words"};
    }
  }
  return std::nullopt;
}

Tensor Sampler::State::keep_raw(OpContext& ops, const Tensor& logits) {
  raw_logits.reset();
  const Tensor raw = raw_logits.allocate(DType::kF32, logits.shape);
  device.copy(ops.stream, raw.data, logits.data, logits.num_bytes());
  return raw;
}

void Sampler::State::penalise(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows) {
  std::vector<int32_t> entry_rows, entry_tokens, entry_counts;
  const auto send = [&] {
    lists.reset();
    PenaltiesArgs args{.logits = logits};
    args.rows = lists.upload(ops.stream, entry_rows);
    args.token_ids = lists.upload(ops.stream, entry_tokens);
    args.output_counts = lists.upload(ops.stream, entry_counts);
    args.repetition =
        lists.upload(ops.stream, per_row<float>(rows, [](auto& row) { return row.sampling->repetition_penalty; }));
    args.frequency =
        lists.upload(ops.stream, per_row<float>(rows, [](auto& row) { return row.sampling->frequency_penalty; }));
    args.presence =
        lists.upload(ops.stream, per_row<float>(rows, [](auto& row) { return row.sampling->presence_penalty; }));
    apply_penalties(ops, args);
    ops.stream.synchronize();
    entry_rows.clear(), entry_tokens.clear(), entry_counts.clear();
  };
  for (size_t r = 0; r < rows.size(); ++r) {
    if (!has_penalties(*rows[r].sampling)) continue;
    std::vector<TokenId> seen;
    for (size_t i = 0; i < rows[r].tokens.size(); ++i) {
      const TokenId token = rows[r].tokens[i];
      int32_t& count = counts[static_cast<size_t>(token)];
      if (count < 0) {
        seen.push_back(token);
        count = 0;
      }
      count += i >= static_cast<size_t>(rows[r].num_prompt_tokens) ? 1 : 0;
    }
    for (const TokenId token : seen) {
      entry_rows.push_back(static_cast<int32_t>(r));
      entry_tokens.push_back(token);
      entry_counts.push_back(std::exchange(counts[static_cast<size_t>(token)], -1));
      if (static_cast<int64_t>(entry_rows.size()) == kListPiece) send();
    }
  }
  if (!entry_rows.empty()) send();
}

void Sampler::State::bias(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows) {
  std::vector<int32_t> entry_rows, entry_tokens;
  std::vector<float> values;
  const auto send = [&] {
    lists.reset();
    apply_logit_bias(ops, {.logits = logits,
                           .rows = lists.upload(ops.stream, entry_rows),
                           .token_ids = lists.upload(ops.stream, entry_tokens),
                           .values = lists.upload(ops.stream, values)});
    ops.stream.synchronize();
    entry_rows.clear(), entry_tokens.clear(), values.clear();
  };
  for (size_t r = 0; r < rows.size(); ++r) {
    for (const auto& [token, value] : rows[r].sampling->logit_bias) {
      entry_rows.push_back(static_cast<int32_t>(r));
      entry_tokens.push_back(token);
      values.push_back(value);
      if (static_cast<int64_t>(values.size()) == kListPiece) send();
    }
  }
  if (!values.empty()) send();
}

void Sampler::State::fill_mask(const SamplerRow& row, std::span<uint32_t> words) const {
  const std::vector<TokenId>& allowed = row.sampling->allowed_token_ids;
  std::ranges::fill(words, allowed.empty() ? ~0U : 0U);
  for (const TokenId token : allowed) words[static_cast<size_t>(token) / 32] |= 1U << (token % 32);
  const std::span<const uint32_t> constraint = constraint_words(row);
  CHECK(constraint.empty() || constraint.size() == words.size(), "a mask of {} words, expected {}", constraint.size(),
        words.size());
  for (size_t i = 0; i < constraint.size(); ++i) words[i] &= constraint[i];
  for (const std::vector<TokenId>& word : row.sampling->bad_words) {
    if (is_next_bad(row, word)) words[static_cast<size_t>(word.back()) / 32] &= ~(1U << (word.back() % 32));
  }
  if (!bans_stop_ids(row)) return;
  for (const TokenId token : row.stop->stop_token_ids) {
    if (token >= 0 && token < options.vocab_size) words[static_cast<size_t>(token) / 32] &= ~(1U << (token % 32));
  }
}

void Sampler::State::mask(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows_to_mask) {
  const auto words = static_cast<size_t>(mask_words(options.vocab_size));
  std::vector<int32_t> mask_rows;
  std::vector<uint32_t> masks;
  for (size_t r = 0; r < rows_to_mask.size(); ++r) {
    const SamplerRow& row = rows_to_mask[r];
    if (!needs_mask(row)) continue;
    mask_rows.push_back(static_cast<int32_t>(r));
    masks.resize(masks.size() + words);
    fill_mask(row, std::span(masks).last(words));
  }
  if (mask_rows.empty()) return;
  const Shape shape = {static_cast<int64_t>(mask_rows.size()), static_cast<int64_t>(words)};
  mask_logits(ops, {.logits = logits,
                    .num_valid_tokens = options.num_valid_tokens,
                    .masks = rows.upload(ops.stream, masks, shape),
                    .mask_rows = rows.upload(ops.stream, mask_rows)});
}

Tensor Sampler::State::draw_rows(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> drawn) {
  SampleArgs args{.logits = logits};
  args.token_ids = rows.allocate(DType::kI32, {static_cast<int64_t>(drawn.size())});
  args.slots = rows.upload(ops.stream, per_row<int32_t>(drawn, [](auto& row) { return row.slot; }));
  args.last_tokens = last_tokens;
  args.temperature =
      rows.upload(ops.stream, per_row<float>(drawn, [](auto& row) { return row.sampling->temperature; }));
  args.top_p = rows.upload(ops.stream, per_row<float>(drawn, [](auto& row) { return row.sampling->top_p; }));
  args.min_p = rows.upload(ops.stream, per_row<float>(drawn, [](auto& row) { return row.sampling->min_p; }));
  args.top_k =
      rows.upload(ops.stream, per_row<int32_t>(drawn, [](auto& row) { return std::max(0, row.sampling->top_k); }));
  args.seeds = rows.upload(ops.stream, per_row<int64_t>(drawn, [](auto& row) { return row.sampling->seed; }));
  args.positions = rows.upload(ops.stream, per_row<int64_t>(drawn, [](auto& row) { return row.position(); }));
  gale::sample(ops, args);
  return args.token_ids;
}

LogprobTensors Sampler::State::logprobs(OpContext& ops, const Tensor& logits, const Tensor& chosen, int num_top) {
  const int64_t num_rows = logits.shape[0];
  LogprobTensors out;
  out.chosen = rows.allocate(DType::kF32, {num_rows});
  out.ranks = rows.allocate(DType::kI32, {num_rows});
  if (num_top > 0) {
    out.top_ids = rows.allocate(DType::kI32, {num_rows, num_top});
    out.top_logprobs = rows.allocate(DType::kF32, {num_rows, num_top});
  }
  gale::logprobs(ops, {.logits = logits,
                       .chosen = chosen,
                       .chosen_logprobs = out.chosen,
                       .chosen_ranks = out.ranks,
                       .top_ids = out.top_ids,
                       .top_logprobs = out.top_logprobs});
  return out;
}

LogprobSpans Sampler::State::download(Stream& stream, const LogprobTensors& tensors) {
  return {.chosen = rows.download<float>(stream, tensors.chosen),
          .ranks = rows.download<int32_t>(stream, tensors.ranks),
          .top_ids = rows.download<int32_t>(stream, tensors.top_ids),
          .top_logprobs = rows.download<float>(stream, tensors.top_logprobs)};
}

std::vector<SampledToken> Sampler::sample(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows) {
  if (rows.empty()) return {};
  State& state = *state_;
  state.check_rows(logits, rows.size());
  state.rows.reset();
  int num_top = -1;
  for (const SamplerRow& row : rows) num_top = std::max(num_top, row.sampling->num_logprobs);

  mask_logits(ops, {.logits = logits, .num_valid_tokens = state.options.num_valid_tokens});
  const Tensor raw = num_top >= 0 ? state.keep_raw(ops, logits) : Tensor{};
  state.penalise(ops, logits, rows);
  state.bias(ops, logits, rows);
  state.mask(ops, logits, rows);
  const Tensor drawn = state.draw_rows(ops, logits, rows);
  LogprobSpans told;
  if (num_top >= 0) told = state.download(ops.stream, state.logprobs(ops, raw, drawn, num_top));
  const std::span<const TokenId> tokens = state.rows.download<TokenId>(ops.stream, drawn);
  ops.stream.synchronize();

  std::vector<SampledToken> out(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    out[r].token = std::max(0, tokens[r]);
    out[r].is_valid = tokens[r] >= 0 && tokens[r] < state.options.num_valid_tokens;
    if (rows[r].constraint != nullptr) out[r].error = rows[r].constraint->mask().error;
    const int wanted = rows[r].sampling->num_logprobs;
    if (wanted >= 0) out[r].logprobs = told.of_row(r, tokens[r], wanted, static_cast<size_t>(num_top));
  }
  return out;
}

std::vector<TokenLogprobs> Sampler::logprobs_of(OpContext& ops, const Tensor& logits, std::span<const TokenId> tokens,
                                                int num_top) {
  if (tokens.empty()) return {};
  State& state = *state_;
  state.check_rows(logits, tokens.size());
  state.rows.reset();
  mask_logits(ops, {.logits = logits, .num_valid_tokens = state.options.num_valid_tokens});
  const Tensor chosen = state.rows.upload(ops.stream, std::vector<int32_t>(tokens.begin(), tokens.end()));
  const LogprobSpans told = state.download(ops.stream, state.logprobs(ops, logits, chosen, num_top));
  ops.stream.synchronize();
  std::vector<TokenLogprobs> out;
  for (size_t r = 0; r < tokens.size(); ++r)
    out.push_back(told.of_row(r, tokens[r], num_top, static_cast<size_t>(num_top)));
  return out;
}

}  // namespace gale
