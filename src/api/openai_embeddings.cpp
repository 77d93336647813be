#include "api/openai_embeddings.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <span>

#include "api/answer_parts.h"
#include "api/prompt_list.h"
#include "base/base64.h"

namespace gale {
namespace {

// The first numbers of a vector, at length one. A vector of zeros stays one: it has no direction.
std::vector<float> normalised(std::vector<float> vector, const EmbeddingForm& form) {
  if (form.dimensions > 0) vector.resize(std::min(vector.size(), static_cast<size_t>(form.dimensions)));
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * static_cast<double>(value);
  const double length = std::sqrt(squares);
  if (length == 0) return vector;
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) / length);
  return vector;
}

std::string little_endian_bytes(std::span<const float> vector) {
  std::string bytes;
  bytes.reserve(vector.size() * sizeof(float));
  for (const float value : vector) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(bits >> shift & 0xff));
  }
  return bytes;
}

// A list of numbers as JSON, each as short as it still is that float: a Json tree would take 16 bytes for each and
// write twice as many digits.
std::string vector_text(std::span<const float> vector, const EmbeddingForm& form) {
  if (form.is_base64) return fmt::format("\"{}\"", base64(little_endian_bytes(vector)));
  std::string text = "[";
  for (const float value : vector) fmt::format_to(std::back_inserter(text), "{}{}", text.size() > 1 ? "," : "", value);
  return text + "]";
}

class EmbeddingAnswer final : public AnswerBase {
 public:
  EmbeddingAnswer(AnswerInfo info, EmbeddingForm form) : AnswerBase(std::move(info)), form_(form) {}

  [[nodiscard]] std::string add(int request, const Event& event) override {
    if (const auto* pooled = std::get_if<Pooled>(&event)) {
      vectors_[pooled->input] = vector_text(normalised(pooled->vector, form_), form_);
    }
    if (const auto* completed = std::get_if<Completed>(&event)) note_completed(request, completed->usage);
    if (const auto* failed = std::get_if<Failed>(&event)) note_failed(*failed);
    return "";
  }

  [[nodiscard]] std::string body() const override {
    const Usage usage = total_usage();
    const Json counts{{"prompt_tokens", usage.prompt_tokens},
                      {"total_tokens", usage.prompt_tokens},
                      {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
    Json head{
        {"id", info_.id}, {"object", "list"}, {"created", info_.created}, {"model", info_.model}, {"usage", counts}};
    std::string text = dump_json(head);
    text.back() = ',';  // the head's brace
    text += "\"data\":[";
    for (const auto& [input, vector] : vectors_) {
      fmt::format_to(std::back_inserter(text), R"({}{{"object":"embedding","index":{},"embedding":{}}})",
                     input > 0 ? "," : "", input, vector);
    }
    return text + "]}";
  }

 private:
  const EmbeddingForm form_;
  std::map<int, std::string> vectors_;  // as text, by input
};

void read_form(RequestReader& reader, const ApiContext& context, EmbeddingForm& form) {
  std::string format = "float";
  reader.string("encoding_format", format);
  form.is_base64 = format == "base64";
  if (!form.is_base64 && format != "float") {
    reader.refuse("encoding_format", ErrorCode::kInvalidArgument,
                  fmt::format("encoding_format: expected float or base64, got {}", brief(Json(format))));
  }
  constexpr double kAny = 1 << 20;
  reader.integer("dimensions", {1, context.hidden_size > 0 ? context.hidden_size : kAny}, form.dimensions);
}

}  // namespace

Result<EmbeddingRequest> parse_embedding_request(const Json& body, const ApiContext& context) {
  if (!body.is_object())
    return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object, got {}", brief(body));
  EmbeddingRequest request;
  RequestReader reader(body);
  reader.string("model", request.answer.model);
  read_form(reader, context, request.form);
  read_prompt_fields(reader, request.generate);
  for (const char* key : {"input", "user", "metadata", "request_id", "session_id"}) (void)reader.find(key);
  GALE_TRY(finish_reading(reader));
  PoolingRequest pooling{.pooling = context.pooling, .inputs = {}};
  GALE_ASSIGN(pooling.inputs, read_prompt_list(body, {"input", context.limits.max_inputs, context.vocab_size}));
  request.generate.pooling = std::move(pooling);
  return request;
}

std::unique_ptr<AnswerWriter> make_embedding_answer(AnswerInfo info, EmbeddingForm form) {
  return std::make_unique<EmbeddingAnswer>(std::move(info), form);
}

}  // namespace gale
