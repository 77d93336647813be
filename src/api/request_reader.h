#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/token.h"

namespace gale {

struct NumberRange {
  double min;
  double max;
  bool excludes_min = false;
};

// Reads typed fields of one request object. The first wrong field is kept as the error, naming the field, what was
// expected and what came; later reads do nothing. An absent or null field leaves the target as it was.
class RequestReader {
 public:
  explicit RequestReader(const Json& object) : object_(object) {}

  void number(const char* key, const NumberRange& range, std::optional<float>& target);
  void integer(const char* key, const NumberRange& range, std::optional<int>& target);
  void integer(const char* key, const NumberRange& range, int& target);
  void boolean(const char* key, bool& target);
  void string(const char* key, std::string& target);
  // A seed: any 64-bit integer; -1 means none.
  void seed(const char* key, std::optional<uint64_t>& target);
  // A string or a list of at most `limit` non-empty strings.
  void strings(const char* key, size_t limit, std::vector<std::string>& target);
  void token_ids(const char* key, int vocab_size, std::vector<TokenId>& target);
  // {"token id": bias}; biases are clamped to ±100.
  void logit_bias(const char* key, int vocab_size, std::vector<std::pair<TokenId, float>>& target);

  // The value if it is there and not null.
  [[nodiscard]] const Json* find(const char* key);
  void refuse(const char* key, ErrorCode code, std::string message);
  // A field this build cannot serve: refused unless it is absent, null or one of `harmless`.
  void refuse_unless(const char* key, const std::vector<Json>& harmless, const char* reason);

  // Keys of the object that nobody asked for, for the debug log.
  [[nodiscard]] std::vector<std::string> unread_keys() const;
  [[nodiscard]] Status status() const;

 private:
  [[nodiscard]] std::optional<double> read_number(const char* key, const NumberRange& range, bool must_be_whole);
  void expected(const char* key, std::string_view what, const Json& found);
  [[nodiscard]] bool check_token(const char* key, int64_t id, int vocab_size);

  const Json& object_;
  std::set<std::string, std::less<>> read_;
  std::optional<Error> error_;
};

// A JSON value as a message shows it: at most 60 characters.
[[nodiscard]] std::string brief(const Json& value);

}  // namespace gale
