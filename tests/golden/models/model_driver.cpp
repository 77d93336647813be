#include "model_driver.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"

namespace gale::golden {
namespace {

constexpr int kThreads = 2;

// The host vectors behind one step's AttentionMetadata.
struct StepTables {
  std::vector<int32_t> token_ids, query_start = {0}, seq_lens, block_tables, positions, rows;
  std::vector<int64_t> slots;
  int max_query = 0, max_seq = 0;

  void add(const Piece& piece, int max_blocks) {
    const std::vector<int32_t>& blocks = piece.sequence->blocks;
    for (const int32_t token : piece.tokens) {
      const int position = piece.sequence->length++;
      rows.push_back(static_cast<int32_t>(token_ids.size()));
      token_ids.push_back(token);
      positions.push_back(position);
      slots.push_back(int64_t{blocks.at(static_cast<size_t>(position / kBlockSize))} * kBlockSize +
                      position % kBlockSize);
    }
    query_start.push_back(static_cast<int32_t>(token_ids.size()));
    seq_lens.push_back(piece.sequence->length);
    for (int i = 0; i < max_blocks; ++i)
      block_tables.push_back(static_cast<size_t>(i) < blocks.size() ? blocks[static_cast<size_t>(i)] : 0);
    max_query = std::max(max_query, static_cast<int>(piece.tokens.size()));
    max_seq = std::max(max_seq, piece.sequence->length);
  }

  // Each of these tokens as a sequence's one query.
  [[nodiscard]] StepTables of_rows(const std::vector<int32_t>& chosen) const {
    StepTables out;
    const size_t num_tokens = token_ids.size(), width = block_tables.size() / seq_lens.size();
    for (const int32_t row : chosen) {
      const auto next = std::ranges::upper_bound(query_start, row);
      const auto sequence = static_cast<size_t>(next - query_start.begin()) - 1;
      out.query_start.push_back(static_cast<int32_t>(out.token_ids.size()) + 1);
      out.token_ids.push_back(token_ids.at(static_cast<size_t>(row)));
      out.positions.push_back(positions.at(static_cast<size_t>(row)));
      out.slots.push_back(-1);
      out.seq_lens.push_back(out.positions.back() + 1);
      const auto table = block_tables.begin() + static_cast<std::ptrdiff_t>(sequence * width);
      out.block_tables.insert(out.block_tables.end(), table, table + static_cast<std::ptrdiff_t>(width));
      out.max_seq = std::max(out.max_seq, out.seq_lens.back());
    }
    out.max_query = 1;
    CHECK(positions.size() == 3 * num_tokens, "positions of {} tokens", num_tokens);
    out.repeat_positions();
    return out;
  }

  void repeat_positions() {   // axes T, H, W of text are equal
    const std::vector<int32_t> axis = positions;
    for (int copy = 0; copy < 2; ++copy) positions.insert(positions.end(), axis.begin(), axis.end());
  }
};

Tensor i32(std::vector<int32_t>& values, const Shape& shape) {
  return Tensor::contiguous(values.data(), DType::kI32, shape);
}

AttentionMetadata metadata_of(StepTables& tables, int num_seqs, int max_blocks) {
  const auto num_tokens = static_cast<int64_t>(tables.token_ids.size());
  return {.query_start_loc = i32(tables.query_start, {num_seqs + 1}),
          .seq_lens = i32(tables.seq_lens, {num_seqs}),
          .block_tables = i32(tables.block_tables, {num_seqs, max_blocks}),
          .slot_mapping = Tensor::contiguous(tables.slots.data(), DType::kI64, {num_tokens}),
          .positions = i32(tables.positions, {3, num_tokens}),
          .num_seqs = num_seqs,
          .num_tokens = static_cast<int>(num_tokens),
          .max_query_len = tables.max_query,
          .max_seq_len = tables.max_seq,
          .block_size = kBlockSize};
}

}  // namespace

ModelDriver::ModelDriver(const OpTable& ops)
    : device_(make_cpu_device(kThreads)),
      stream_(device_->make_stream()),
      ops_{.stream = *stream_, .table = ops, .caps = device_->caps()} {}

Result<std::unique_ptr<ModelDriver>> ModelDriver::load(const std::string& folder) {
  std::unique_ptr<ModelDriver> driver(new ModelDriver(cpu_op_table()));
  GALE_TRY(driver->load_from({.model_dir = folder}));
  return driver;
}

Result<std::unique_ptr<ModelDriver>> ModelDriver::load_dummy(const std::string& folder, const OpTable& ops,
                                                             RandomRouting routing) {
  std::unique_ptr<ModelDriver> driver(new ModelDriver(ops));
  GALE_TRY(driver->load_from({.model_dir = folder, .is_dummy = true, .dummy_routing = routing}));
  return driver;
}

Status ModelDriver::load_from(LoadOptions options) {
  options.device = device_.get();
  options.ops = &ops_;
  GALE_ASSIGN(model_, load_model(options));
  make_cache();
  return {};
}

void ModelDriver::make_cache() {
  const KvLayout layout = model_->kv_layout();
  const auto num_bytes = static_cast<size_t>(layout.elements_per_token()) * kNumBlocks * kBlockSize * sizeof(float);
  cache_memory_ = device_->allocate(MemoryKind::kDevice, num_bytes).value();
  auto* next = reinterpret_cast<float*>(cache_memory_->data());
  const auto take = [&](const Shape& shape) {
    const Tensor tensor = Tensor::contiguous(next, DType::kF32, shape);
    next += shape.num_elements();
    return tensor;
  };
  for (const KvLayerSpec& layer : layout.layers) {
    if (layer.kind == KvKind::kMla) {
      kv_.layers.push_back({take({kNumBlocks, kBlockSize, layer.latent_dim + layer.rope_dim}), {}});
    } else {
      const Shape shape = {kNumBlocks, layer.num_kv_heads, kBlockSize, layer.head_dim};
      const Tensor k = take(shape);
      kv_.layers.push_back({k, take(shape)});
    }
  }
}

void ModelDriver::grow(Sequence& sequence, size_t num_tokens) {
  while (sequence.blocks.size() * kBlockSize < static_cast<size_t>(sequence.length) + num_tokens) {
    CHECK(num_used_blocks_ < kNumBlocks, "the test's cache is full");
    sequence.blocks.push_back((num_used_blocks_++ * 27 + 5) % kNumBlocks);   // 27 and 64 share no divisor: each once
  }
}

Rows ModelDriver::step(const std::vector<Piece>& pieces, const std::optional<std::vector<int32_t>>& wanted,
                       bool attends_alone) {
  size_t max_blocks = 0;
  for (const Piece& piece : pieces) {
    grow(*piece.sequence, piece.tokens.size());
    max_blocks = std::max(max_blocks, piece.sequence->blocks.size());
  }
  StepTables tables;
  for (const Piece& piece : pieces) tables.add(piece, static_cast<int>(max_blocks));
  tables.repeat_positions();
  const auto num_tokens = static_cast<int>(tables.token_ids.size());
  const AttentionMetadata metadata = metadata_of(tables, static_cast<int>(pieces.size()), static_cast<int>(max_blocks));

  const int num_rows = wanted ? static_cast<int>(wanted->size()) : num_tokens;
  Arena workspace =
      Arena::create(*device_, MemoryKind::kDevice, model_->workspace_bytes(num_tokens, num_rows)).value();
  ForwardContext context{.ops = ops_, .workspace = workspace, .attention = metadata, .kv = kv_,
                         .token_ids = i32(tables.token_ids, {num_tokens})};
  std::vector<int32_t> chosen = wanted.value_or(std::vector<int32_t>{});
  StepTables alone = tables.of_rows(chosen);
  if (wanted) {
    context.wanted = {.rows = i32(chosen, {num_rows})};
    if (attends_alone) context.wanted->attention = metadata_of(alone, num_rows, static_cast<int>(max_blocks));
  }
  const Tensor hidden = model_->forward(context);
  if (num_rows == 0) return {};
  const auto vocab = static_cast<size_t>(model_->info().vocab_size);
  std::vector<float> flat(static_cast<size_t>(num_rows) * vocab);
  model_->logits(context, hidden, wanted ? Tensor{} : i32(tables.rows, {num_rows}),
                 Tensor::contiguous(flat.data(), DType::kF32, {num_rows, static_cast<int64_t>(vocab)}));
  stream_->synchronize();
  Rows out;
  for (auto row = flat.begin(); row != flat.end(); row += static_cast<std::ptrdiff_t>(vocab)) {
    out.emplace_back(row, row + static_cast<std::ptrdiff_t>(vocab));
  }
  return out;
}

Rows ModelDriver::prefill(Sequence& sequence, const std::vector<int32_t>& tokens, size_t chunk) {
  Rows out;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t end = std::min(begin + chunk, tokens.size());
    const auto first = tokens.begin();
    Rows rows =
        step({{&sequence, {first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end)}}});
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

std::vector<int32_t> ModelDriver::greedy(const std::vector<int32_t>& prompt, int num_tokens) {
  Sequence sequence;
  std::vector<int32_t> out = {best_token(prefill(sequence, prompt, prompt.size()).back())};
  while (static_cast<int>(out.size()) < num_tokens) out.push_back(best_token(step({{&sequence, {out.back()}}}).back()));
  return out;
}

Rows logits_of(const std::string& folder) {
  Result<std::unique_ptr<ModelDriver>> driver = ModelDriver::load(folder);
  if (!driver) {
    ADD_FAILURE() << driver.error().message;
    return {};
  }
  Sequence sequence;
  return (*driver)->step({{&sequence, {5, 17, 3, 80, 41, 9, 9, 62, 28, 7, 33, 71, 2, 50, 19, 64, 11, 86, 23, 38}}});
}

int32_t best_token(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace gale::golden
