#include "request/generation_config.h"

#include "base/json.h"
#include "base/mapped_file.h"

namespace gale {
namespace {

constexpr size_t kMaxConfigBytes = size_t{4} << 20;

Result<Json> read_object(const std::string& path) {
  GALE_ASSIGN(const std::string text, read_file(path, kMaxConfigBytes));
  auto value = parse_json(text);
  if (!value) return fail(ErrorCode::kCorrupt, "{}: {}", path, value.error().message);
  if (!value->is_object())
    return fail(ErrorCode::kCorrupt, "{}: expected an object, found {}", path, value->type_name());
  return value;
}

template <class T>
Status read_number(const Json& object, const char* key, const std::string& path, std::optional<T>& out) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return {};
  if (!it->is_number())
    return fail(ErrorCode::kCorrupt, "{}: \"{}\" must be a number, found {}", path, key, it->type_name());
  out = it->get<T>();
  return {};
}

// "eos_token_id": a number or a list of numbers.
Status read_eos(const Json& object, const std::string& path, std::vector<TokenId>& out) {
  const auto it = object.find("eos_token_id");
  if (it == object.end() || it->is_null()) return {};
  const Json list = it->is_array() ? *it : Json::array({*it});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
      return fail(ErrorCode::kCorrupt, "{}: \"eos_token_id\" must hold token ids, found {}", path, dump_json(id));
    out.push_back(id.get<TokenId>());
  }
  return {};
}

Status read_sampling(const Json& object, const std::string& path, GenerationDefaults& out) {
  if (const auto it = object.find("do_sample"); it != object.end() && it->is_boolean() && !it->get<bool>()) {
    out.temperature = 0.0F;
    return {};
  }
  GALE_TRY(read_number(object, "temperature", path, out.temperature));
  GALE_TRY(read_number(object, "top_p", path, out.top_p));
  GALE_TRY(read_number(object, "min_p", path, out.min_p));
  GALE_TRY(read_number(object, "repetition_penalty", path, out.repetition_penalty));
  return read_number(object, "top_k", path, out.top_k);
}

}  // namespace

Result<GenerationDefaults> load_generation_defaults(const std::string& model_dir) {
  GenerationDefaults defaults;
  const std::string generation_path = model_dir + "/generation_config.json";
  if (auto generation = read_object(generation_path)) {
    GALE_TRY(read_eos(*generation, generation_path, defaults.eos_token_ids));
    GALE_TRY(read_sampling(*generation, generation_path, defaults));
  } else if (generation.error().code != ErrorCode::kNotFound) {
    return tl::unexpected(generation.error());
  }
  if (!defaults.eos_token_ids.empty()) return defaults;
  const std::string config_path = model_dir + "/config.json";
  GALE_ASSIGN(const Json config, read_object(config_path));
  GALE_TRY(read_eos(config, config_path, defaults.eos_token_ids));
  if (const auto text = config.find("text_config");
      defaults.eos_token_ids.empty() && text != config.end() && text->is_object())
    GALE_TRY(read_eos(*text, config_path, defaults.eos_token_ids));
  if (defaults.eos_token_ids.empty())
    return fail(ErrorCode::kCorrupt, "neither {} nor {} has \"eos_token_id\"", generation_path, config_path);
  return defaults;
}

}  // namespace gale
