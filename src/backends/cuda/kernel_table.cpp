#include "backends/cuda/kernel_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>

#include "backends/cuda/built_in_tables.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace gale::cuda {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;
constexpr int64_t kMaxExtent = int64_t{1} << 32;
constexpr std::array kOps = {ProductOp::kLinear, ProductOp::kLogits, ProductOp::kLinearSwiglu, ProductOp::kMoeUp,
                             ProductOp::kMoeDown};

// One line of the file; every error names it and the field.
class Line {
 public:
  static Result<Line> read(std::string_view text, std::string where) {
    const Result<Json> json = parse_json(text);
    if (!json) return fail(ErrorCode::kInvalidArgument, "{}: {}", where, json.error().message);
    if (!json->is_object()) return fail(ErrorCode::kInvalidArgument, "{}: expected an object", where);
    return Line(*json, std::move(where));
  }
  Result<std::string> text(const char* field) {
    GALE_ASSIGN(const Json* value, at(field));
    if (!value->is_string()) return bad(field, "a text", *value);
    return value->get<std::string>();
  }
  Result<int64_t> integer(const char* field, int64_t least) {
    GALE_ASSIGN(const Json* value, at(field));
    const bool is_good = value->is_number_integer() && value->get<int64_t>() >= least &&
                         value->get<int64_t>() <= kMaxExtent;
    if (!is_good) return bad(field, fmt::format("an integer from {} to {}", least, kMaxExtent), *value);
    return value->get<int64_t>();
  }
  Result<double> time(const char* field) {
    GALE_ASSIGN(const Json* value, at(field));
    if (!value->is_number() || !(value->get<double>() >= 0)) return bad(field, "microseconds", *value);
    return value->get<double>();
  }
  // That there are no other fields.
  Status finish() const {
    for (const auto& [name, value] : json_.items())
      if (!read_.contains(name)) return fail(ErrorCode::kInvalidArgument, "{}: unknown field \"{}\"", where_, name);
    return {};
  }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  Line(Json json, std::string where) : json_(std::move(json)), where_(std::move(where)) {}
  Result<const Json*> at(const char* field) {
    const auto found = json_.find(field);
    if (found == json_.end()) return fail(ErrorCode::kInvalidArgument, "{}: \"{}\" is missing", where_, field);
    read_.insert(field);
    return &*found;
  }
  [[nodiscard]] tl::unexpected<Error> bad(const char* field, std::string_view expected, const Json& value) const {
    return fail(ErrorCode::kInvalidArgument, "{}: \"{}\" is {}, expected {}", where_, field, dump_json(value),
                expected);
  }

  Json json_;
  std::string where_;
  std::set<std::string> read_;
};

Status read_head(std::string_view text, const std::string& where, KernelTable& table) {
  GALE_ASSIGN(Line line, Line::read(text, where));
  GALE_ASSIGN(table.card.name, line.text("card"));
  GALE_ASSIGN(const int64_t capability, line.integer("compute_capability", 10));
  GALE_ASSIGN(const int64_t num_sms, line.integer("num_sms", 1));
  GALE_ASSIGN(table.kernels, line.text("kernels"));
  table.card.compute_capability = static_cast<int>(capability), table.card.num_sms = static_cast<int>(num_sms);
  return line.finish();
}

Result<ProductOp> read_op(Line& line) {
  GALE_ASSIGN(const std::string name, line.text("op"));
  std::string known;
  for (const ProductOp op : kOps) {
    if (name_of(op) == name) return op;
    known += (known.empty() ? "" : ", ") + std::string(name_of(op));
  }
  return fail(ErrorCode::kInvalidArgument, "{}: \"op\" is \"{}\", expected one of {}", line.where(), name, known);
}

Result<ProductShape> read_shape(Line& line) {
  ProductShape shape;
  GALE_ASSIGN(shape.op, read_op(line));
  GALE_ASSIGN(const std::string weights, line.text("weights"));
  if (weights != "bf16" && weights != "fp8")
    return fail(ErrorCode::kInvalidArgument, "{}: \"weights\" is \"{}\", expected bf16 or fp8", line.where(), weights);
  shape.is_fp8 = weights == "fp8";
  GALE_ASSIGN(shape.num_rows, line.integer("n", 1));
  GALE_ASSIGN(shape.num_cols, line.integer("k", 1));
  GALE_ASSIGN(shape.num_matrices, line.integer("matrices", 1));
  GALE_ASSIGN(shape.num_chosen, line.integer("chosen", 1));
  return shape;
}

Result<int> read_bucket(Line& line, ProductOp op) {
  GALE_ASSIGN(const int64_t max_tokens, line.integer("max_tokens", 1));
  std::string known;
  for (const int bound : bucket_bounds(op)) {
    if (bound == max_tokens) return bound;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", bound);
  }
  return fail(ErrorCode::kInvalidArgument, "{}: \"max_tokens\" is {}, expected one of {}", line.where(), max_tokens,
              known);
}

Status read_entry(std::string_view text, const std::string& where, KernelTable& table) {
  GALE_ASSIGN(Line line, Line::read(text, where));
  GALE_ASSIGN(const ProductShape shape, read_shape(line));
  GALE_ASSIGN(const int bucket, read_bucket(line, shape.op));
  GALE_ASSIGN(const std::string name, line.text("kernel"));
  const std::optional<Candidate> kernel = find_candidate(shape, bucket, name);
  if (!kernel) {
    std::string known;
    for (const Candidate& candidate : candidates_of(shape, bucket))
      known += (known.empty() ? "" : ", ") + name_of(candidate);
    return fail(ErrorCode::kInvalidArgument, "{}: \"kernel\" is \"{}\", expected one of {}", where, name, known);
  }
  TableEntry entry{.kernel = *kernel, .num_chosen = shape.num_chosen};
  GALE_ASSIGN(entry.microseconds, line.time("us"));
  GALE_ASSIGN(entry.heuristic_microseconds, line.time("heuristic_us"));
  GALE_TRY(line.finish());
  if (!table.entries[key_of(shape)].emplace(bucket, entry).second)
    return fail(ErrorCode::kInvalidArgument, "{}: this product and max_tokens {} stand in an earlier line", where,
                bucket);
  return {};
}

void warn_if_stale(const KernelTable& table, const std::string& file) {
  if (table.kernels == kernels_version()) return;
  log_warning("{} was measured with other kernels ({}) than this build's ({}): its choices are right, but may not be "
              "the fastest; measure again with gale tune",
              file, table.kernels, kernels_version());
}

std::string describe(const CardFacts& card) {
  return fmt::format("{} (compute capability {}.{}, {} SMs)", card.name, card.compute_capability / 10,
                     card.compute_capability % 10, card.num_sms);
}

}  // namespace

ProductKey key_of(const ProductShape& shape) {
  return {shape.op, shape.is_fp8, shape.num_rows, shape.num_cols, shape.num_matrices};
}
ProductKey key_of(ProductOp op, const PackedWeight& weight) {
  return {op, weight.is_quantized(), weight.num_rows, weight.num_cols, weight.num_matrices};
}

const TableEntry* KernelTable::find(const ProductKey& key, int64_t num_tokens) const {
  const auto product = entries.find(key);
  if (product == entries.end()) return nullptr;
  const auto bucket = product->second.find(bucket_of(key.op, num_tokens));
  return bucket == product->second.end() ? nullptr : &bucket->second;
}

Candidate KernelTable::choice(const ProductKey& key, int64_t num_tokens) const {
  const TableEntry* entry = find(key, num_tokens);
  return entry == nullptr ? Candidate{} : entry->kernel;
}

Result<KernelTable> parse_kernel_table(std::string_view text, const std::string& file) {
  KernelTable table;
  bool has_head = false;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", file, number);
    GALE_TRY(has_head ? read_entry(line, where, table) : read_head(line, where, table));
    has_head = true;
  }
  if (!has_head) return fail(ErrorCode::kInvalidArgument, "{}: a kernel table begins with a line of its card", file);
  return table;
}

Result<KernelTable> read_kernel_table(const std::string& file) {
  GALE_ASSIGN(const std::string text, read_file(file, kMaxFileBytes));
  return parse_kernel_table(text, file);
}

std::string to_text(const KernelTable& table) {
  std::string out = dump_json(Json{{"card", table.card.name},
                                   {"compute_capability", table.card.compute_capability},
                                   {"num_sms", table.card.num_sms},
                                   {"kernels", table.kernels}}) +
                    "\n";
  const auto rounded = [](double microseconds) { return std::round(microseconds * 100) / 100; };
  for (const auto& [key, buckets] : table.entries) {
    for (const auto& [bucket, entry] : buckets)
      out += dump_json(Json{{"op", name_of(key.op)},
                            {"weights", key.is_fp8 ? "fp8" : "bf16"},
                            {"n", key.num_rows},
                            {"k", key.num_cols},
                            {"matrices", key.num_matrices},
                            {"chosen", entry.num_chosen},
                            {"max_tokens", bucket},
                            {"kernel", name_of(entry.kernel)},
                            {"us", rounded(entry.microseconds)},
                            {"heuristic_us", rounded(entry.heuristic_microseconds)}}) +
             "\n";
  }
  return out;
}

Result<KernelTable> merged(const KernelTable& old, KernelTable measured) {
  if (old.card != measured.card)
    return fail(ErrorCode::kInvalidArgument, "the table is of {}, this card is {}", describe(old.card),
                describe(measured.card));
  if (old.kernels != measured.kernels) return measured;
  for (const auto& [key, buckets] : old.entries) measured.entries[key].insert(buckets.begin(), buckets.end());
  return measured;
}

Result<KernelTable> load_kernel_table(const CardFacts& card, const std::string& file) {
  if (file == "off") return KernelTable{.card = card, .kernels = std::string(kernels_version())};
  if (!file.empty()) {
    Result<KernelTable> table = read_kernel_table(file);
    if (!table) return fail(ErrorCode::kInvalidArgument, "{}", table.error().message);
    if (table->card != card)
      return fail(ErrorCode::kInvalidArgument, "{} is of {}, this card is {}: measure it with gale tune", file,
                  describe(table->card), describe(card));
    warn_if_stale(*table, file);
    return table;
  }
  for (const BuiltInTable& built_in : built_in_tables()) {
    Result<KernelTable> table = parse_kernel_table(built_in.text, std::string(built_in.file));
    CHECK(table, "{}", table.error().message);           // kernel_table_test.cpp reads them all
    if (table->card != card) continue;
    warn_if_stale(*table, table->card.name + "'s table");
    return table;
  }
  return KernelTable{.card = card, .kernels = std::string(kernels_version())};
}

}  // namespace gale::cuda
