#include "serving/journal.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace gale {
namespace {

constexpr int kSuspiciousDeaths = 2;   // once is chance: a machine short of memory, an operator
constexpr int kConvictingDeaths = 3;
constexpr int kConvictingLoneDeaths = 2;

bool is_suspect(const JournalEntry& entry) { return entry.num_deaths >= kSuspiciousDeaths; }

}  // namespace

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

int Journal::num_suspects() const {
  if (max_deaths_ < kSuspiciousDeaths) return 0;
  return static_cast<int>(std::ranges::count_if(entries_, [](const auto& item) { return is_suspect(item.second); }));
}

std::vector<RequestId> Journal::take_due(RequestId id) {
  if (num_suspects() > 0) return take_due();
  entries_.at(id).is_due = true;
  return {id};
}

std::vector<RequestId> Journal::take_due() {
  std::vector<RequestId> due;
  int most = 0;
  for (const auto& [id, entry] : entries_) {
    const bool is_away = entry.is_due || entry.is_with_engine;
    if (is_away && is_suspect(entry)) return {};           // the search waits for what becomes of it
    if (!is_away) most = std::max(most, entry.num_deaths);
  }
  const bool is_searching = most >= kSuspiciousDeaths;
  for (const auto& [id, entry] : entries_) {
    if (entry.is_due || entry.is_with_engine) continue;
    if (!is_searching || entry.num_deaths == most) due.push_back(id);
  }
  if (is_searching) due.resize((due.size() + 1) / 2);
  for (const RequestId id : due) entries_.at(id).is_due = true;
  return due;
}

std::vector<JournalEntry> Journal::convict() {
  std::vector<JournalEntry> convicted;
  for (auto it = entries_.begin(); it != entries_.end();) {
    JournalEntry& entry = it->second;
    const bool is_guilty = entry.num_deaths >= kConvictingDeaths && entry.num_lone_deaths >= kConvictingLoneDeaths;
    if (is_guilty) convicted.push_back(std::move(entry));
    it = is_guilty ? entries_.erase(it) : std::next(it);
  }
  return convicted;
}

std::optional<Submit> Journal::hand_over(RequestId id) {
  const auto it = entries_.find(id);
  if (it == entries_.end() || it->second.is_with_engine) return std::nullopt;
  JournalEntry& entry = it->second;
  entry.is_with_engine = true;
  ++num_handed_over_;
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
  if (output.tokens.empty() && output.prompt_logprobs.empty() && !output.finish) {
    entry.is_waiting_there = !output.num_cached_tokens.has_value();
    return std::nullopt;
  }
  if (!output.tokens.empty()) clear_of_suspicion(entry);
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

void Journal::clear_of_suspicion(JournalEntry& entry) {
  entry.num_deaths = entry.num_lone_deaths = 0;
  entry.has_moved = true;
}

// Whoever got something from this engine and was with it at its end may be the reason, too, but so far that is chance.
// So it is with one that was handed over to an engine that had others: it may have died before it read that one.
void Journal::note_engine_death() {
  const bool is_lone = std::exchange(num_handed_over_, 0) == 1;
  max_deaths_ = 0;
  for (auto& [id, entry] : entries_) {
    const bool was_at_it = entry.is_with_engine && !entry.is_waiting_there;
    if (was_at_it) ++entry.num_deaths;
    if (was_at_it && is_lone && !entry.has_moved) ++entry.num_lone_deaths;
    max_deaths_ = std::max(max_deaths_, entry.num_deaths);
    entry.is_due = entry.is_with_engine = entry.is_waiting_there = entry.has_moved = false;
  }
}

std::vector<JournalEntry> Journal::clear() {
  std::vector<JournalEntry> ended;
  ended.reserve(entries_.size());
  for (auto& [id, entry] : entries_) ended.push_back(std::move(entry));
  entries_.clear();
  return ended;
}

}  // namespace gale
