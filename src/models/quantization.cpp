#include "models/quantization.h"

#include <fmt/format.h>

#include <optional>

namespace gale {
namespace {

const Json kNothing;

const Json& member(const Json& object, std::string_view key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? kNothing : *found;
}
std::string text_of(const Json& object, std::string_view key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}
int integer_of(const Json& object, std::string_view key) {
  const Json& value = member(object, key);
  return value.is_number_integer() ? value.get<int>() : 0;
}

std::string blocks_of(const Json& shape) {
  if (!shape.is_array() || shape.size() != 2) return "blocks";
  return fmt::format("blocks of {} x {}", dump_json(shape[0]), dump_json(shape[1]));
}
std::string in_groups(int size) { return size > 0 ? fmt::format(" in groups of {}", size) : ""; }

// What one group of compressed-tensors is, unless it is what this build loads.
std::optional<std::string> other_than_fp8_rows(const Json& group) {
  const Json &weights = member(group, "weights"), &activations = member(group, "input_activations");
  const std::string type = text_of(weights, "type"), strategy = text_of(weights, "strategy");
  const int bits = integer_of(weights, "num_bits");
  if (type != "float" || bits != 8)
    return fmt::format("{}{}{}", type.empty() ? "int" : type, bits, in_groups(integer_of(weights, "group_size")));
  if (strategy == "block") return "FP8 in " + blocks_of(member(weights, "block_structure"));
  if (strategy != "channel" && strategy != "tensor") return fmt::format("FP8 with the strategy \"{}\"", strategy);
  if (activations.is_null()) return std::nullopt;  // weights alone: activations are quantised here all the same
  if (text_of(activations, "type") != "float" || integer_of(activations, "num_bits") != 8)
    return fmt::format("FP8 with activations of {} bits", integer_of(activations, "num_bits"));
  if (member(activations, "dynamic") != Json(true)) return "FP8 with scales of activations that are fixed beforehand";
  return std::nullopt;
}

std::optional<std::string> other_than_fp8_rows_in_all(const Json& config) {
  const std::string format = text_of(config, "format");
  const Json& groups = member(config, "config_groups");
  if (!groups.is_object() || groups.empty()) return "compressed-tensors without config_groups";
  for (const auto& [name, group] : groups.items())
    if (std::optional<std::string> other = other_than_fp8_rows(group))
      return *other + " (compressed-tensors, " + format + ")";
  if (format != "float-quantized" && format != "naive-quantized")
    return "compressed-tensors in the format \"" + format + "\"";
  if (!member(config, "kv_cache_scheme").is_null()) return "FP8 with a kv_cache_scheme (scales of keys and values)";
  return std::nullopt;
}

// In words, what a config other than ours holds.
std::optional<std::string> other_format(const Json& config) {
  const std::string method = text_of(config, "quant_method");
  if (method == "compressed-tensors") return other_than_fp8_rows_in_all(config);
  const int bits = integer_of(config, "bits");
  if (method == "fp8" && !member(config, "weight_block_size").is_null())
    return fmt::format("FP8 in {} (quant_method fp8)", blocks_of(member(config, "weight_block_size")));
  if (bits > 0)
    return fmt::format("int{}{} (quant_method {})", bits, in_groups(integer_of(config, "group_size")), method);
  return fmt::format("quantised by quant_method \"{}\"", method);
}

}  // namespace

Result<StoredWeights> read_stored_weights(HfConfig& config, const std::string& folder) {
  const Json* found = config.value("quantization_config");
  if (found == nullptr) found = config.section("text_config").value("quantization_config");
  if (found == nullptr) return StoredWeights::kPlain;
  const std::optional<std::string> other = other_format(*found);
  if (!other) return StoredWeights::kFp8Rows;
  return fail(ErrorCode::kUnimplemented,
              "{}/config.json: quantization_config: the weights are {}, which this build does not load; it loads bf16 "
              "and FP8 (e4m3) "
              "checkpoints with a scale a row (compressed-tensors, float-quantized). The bf16 checkpoint with "
              "--quantization fp8 is one way",
              folder, *other);
}

}  // namespace gale
