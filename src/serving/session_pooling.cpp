// What a session does with inputs that are pooled: there is no text to parse, and a list may be longer than any queue.
#include <algorithm>

#include "serving/session.h"

namespace gale {

int num_pooled_at_once(size_t num_inputs, int max_num_seqs) {
  return static_cast<int>(std::min(num_inputs, static_cast<size_t>(std::max(1, max_num_seqs))));
}

Status Session::submit_inputs() {
  const SequenceLimits limits = parts_->limits();
  const std::vector<PromptInput> inputs = std::exchange(request_.pooling->inputs, {});  // large, and of no further use
  std::vector<TokenId> all;
  for (const PromptInput& input : inputs) {
    GALE_ASSIGN(std::vector<TokenId> prompt,
                encode_prompt(input, *parts_->tokenizer, parts_->chat_template.get(), limits.vocab_size));
    truncate_prompt(request_, limits, prompt);
    all.insert(all.end(), prompt.begin(), prompt.end());
    GALE_ASSIGN(Submit submit, make_pooled_submit(request_, std::move(prompt), limits));
    submit.id = ids_[inputs_.size()];
    inputs_.push_back(std::move(submit));
  }
  num_prompt_tokens_ = static_cast<int>(all.size());
  const std::optional<Ready> ready = parts_->supervisor.ready();
  const int num_at_once = num_pooled_at_once(inputs_.size(), ready ? ready->max_num_seqs : 1);
  {
    std::lock_guard lock(delivery_mutex_);
    slot_.correct_prompt_tokens(int64_t{num_prompt_tokens_} * num_at_once / std::ssize(inputs_));
  }
  emit(Started{std::move(all)});
  for (int i = 0; i < num_at_once; ++i) GALE_TRY(submit_next_input());
  return {};
}

Status Session::submit_next_input() {
  if (next_input_ == inputs_.size()) return {};
  return parts_->supervisor.submit(std::move(inputs_[next_input_++]), shared_from_this());
}

void Session::process_pooled(size_t input, SequenceOutput output) {
  note_time(input, output);
  if (output.num_cached_tokens) num_cached_tokens_ += *output.num_cached_tokens;
  if (!output.finish) return;
  emit(Pooled{static_cast<int>(input), std::move(output.pooled)});
  if (++num_finished_ == ids_.size()) return end_with(Completed{usage(), times()});
  if (Status submitted = submit_next_input(); !submitted) return fail_request(std::move(submitted).error());
  if (is_over()) parts_->supervisor.cancel(ids_);  // abandoned before the engine knew of the last
}

}  // namespace gale
