#include <iterator>
#include <unordered_map>

#include "base/check.h"
#include "engine/engine.h"
#include "engine/engine_loop.h"

namespace gale {
namespace {

template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void merge(SequenceOutput& all, SequenceOutput part) {
  append(all.tokens, part.tokens);
  append(all.logprobs, part.logprobs);
  append(all.prompt_logprobs, part.prompt_logprobs);
  append(all.pooled, part.pooled);
  if (part.num_cached_tokens) all.num_cached_tokens = part.num_cached_tokens;
  if (!part.finish) return;
  all.finish = part.finish;
  all.stop_token = part.stop_token;
  all.error = std::move(part.error);
}

}  // namespace

Result<std::vector<SequenceOutput>> generate_offline(Executor& executor, const std::vector<Submit>& submits,
                                                     std::optional<int64_t> token_layers) {
  Scheduler scheduler(executor.info().scheduler);
  scheduler.limit_layered_prefill(token_layers);
  std::vector<SequenceOutput> outputs(submits.size());
  std::unordered_map<RequestId, size_t> index_of;
  for (size_t i = 0; i < submits.size(); ++i) {
    outputs[i].id = submits[i].id;
    CHECK(index_of.emplace(submits[i].id, i).second, "id {} comes twice", submits[i].id.value);
    std::optional<Error> reason = reason_to_refuse(submits[i], executor.info().vocab_size);
    if (!submits[i].grammar.empty())
      reason = Error{ErrorCode::kUnimplemented, "grammars need a running engine", "response_format"};
    if (reason) {
      outputs[i].finish = FinishReason::kError;
      outputs[i].error = std::move(reason);
    } else if (std::optional<SequenceOutput> outcome = scheduler.add(submits[i])) {
      outputs[i] = std::move(*outcome);
    }
  }
  while (scheduler.has_work()) {
    GALE_ASSIGN(std::vector<SequenceOutput> step, run_step(scheduler, executor));
    for (SequenceOutput& part : step) merge(outputs[index_of.at(part.id)], std::move(part));
  }
  return outputs;
}

}  // namespace gale
