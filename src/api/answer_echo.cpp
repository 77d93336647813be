#include <memory>
#include <utility>
#include <variant>

#include "api/answer.h"

namespace gale {
namespace {

// Engines compute a token in any case; the writer behind this one never hears of it.
class EchoOnly final : public AnswerWriter {
 public:
  explicit EchoOnly(std::unique_ptr<AnswerWriter> writer) : writer_(std::move(writer)) {}

  [[nodiscard]] std::string add(int request, const Event& event) override {
    if (const auto* delta = std::get_if<Delta>(&event))
      return writer_->add(request, Delta{.choice = delta->choice, .usage = of_the_prompt(delta->usage)});
    if (const auto* finished = std::get_if<Finished>(&event))
      return writer_->add(request, Finished{.choice = finished->choice, .reason = ChoiceFinish::kLength});
    if (const auto* completed = std::get_if<Completed>(&event))
      return writer_->add(request, Completed{of_the_prompt(completed->usage), completed->times});
    return writer_->add(request, event);
  }
  [[nodiscard]] bool is_done() const override { return writer_->is_done(); }
  [[nodiscard]] std::string body() const override { return writer_->body(); }
  [[nodiscard]] const std::optional<Failed>& failure() const override { return writer_->failure(); }

 private:
  static Usage of_the_prompt(const Usage& usage) {
    return {.prompt_tokens = usage.prompt_tokens, .cached_tokens = usage.cached_tokens};
  }

  const std::unique_ptr<AnswerWriter> writer_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_echo_only(std::unique_ptr<AnswerWriter> writer) {
  return std::make_unique<EchoOnly>(std::move(writer));
}

}  // namespace gale
