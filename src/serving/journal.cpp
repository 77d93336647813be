#include "serving/journal.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace gale {

void Journal::add(Submit submit) {
  const RequestId id = submit.id;
  const bool is_new = entries_.emplace(id, JournalEntry{.submit = std::move(submit)}).second;
  CHECK(is_new, "request id {} is in the journal already", id.value);
}

bool Journal::remove(RequestId id) { return entries_.erase(id) > 0; }

const JournalEntry* Journal::find(RequestId id) const {
  const auto it = entries_.find(id);
  return it == entries_.end() ? nullptr : &it->second;
}

std::optional<Submit> Journal::hand_over(RequestId id) {
  const auto it = entries_.find(id);
  if (it == entries_.end() || it->second.is_with_engine) return std::nullopt;
  JournalEntry& entry = it->second;
  entry.is_with_engine = true;
  entry.num_repeated_prompt_logprobs = entry.num_prompt_logprobs;
  Submit submit = entry.submit;
  const bool has_all_prompt_logprobs = entry.num_prompt_logprobs + 1 >= submit.prompt.size();
  if (has_all_prompt_logprobs) {   // then a prefix hit is allowed again
    submit.sampling.num_prompt_logprobs = -1;
    entry.num_repeated_prompt_logprobs = 0;
  }
  return submit;
}

std::optional<SequenceOutput> Journal::record(SequenceOutput output) {
  const auto it = entries_.find(output.id);
  if (it == entries_.end() || !it->second.is_with_engine) return std::nullopt;
  JournalEntry& entry = it->second;
  if (!output.tokens.empty()) entry.num_deaths = 0;
  entry.submit.output.insert(entry.submit.output.end(), output.tokens.begin(), output.tokens.end());

  auto& prompt_logprobs = output.prompt_logprobs;
  const size_t num_repeated = std::min(prompt_logprobs.size(), entry.num_repeated_prompt_logprobs);
  prompt_logprobs.erase(prompt_logprobs.begin(), prompt_logprobs.begin() + static_cast<ptrdiff_t>(num_repeated));
  entry.num_repeated_prompt_logprobs -= num_repeated;
  entry.num_prompt_logprobs += prompt_logprobs.size();

  if (entry.knows_cached_tokens) output.num_cached_tokens.reset();
  entry.knows_cached_tokens |= output.num_cached_tokens.has_value();
  if (output.finish) entries_.erase(it);
  return output;
}

void Journal::note_engine_death() {
  for (auto& [id, entry] : entries_) {
    if (entry.is_with_engine) ++entry.num_deaths;
    entry.is_with_engine = false;
  }
}

std::vector<RequestId> Journal::to_resume() const {
  std::vector<RequestId> ids;
  ids.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) ids.push_back(id);
  return ids;
}

std::vector<JournalEntry> Journal::clear() {
  std::vector<JournalEntry> ended;
  ended.reserve(entries_.size());
  for (auto& [id, entry] : entries_) ended.push_back(std::move(entry));
  entries_.clear();
  return ended;
}

}  // namespace gale
