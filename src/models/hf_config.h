#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace gale {

// An object of config.json read with types. A value that is missing or of the wrong kind is noted, and the reader gets
// a harmless one; finish() then tells all of them. Call finish() before using what was read. Keys set to null count as
// absent.
class HfConfig {
 public:
  // <folder>/config.json; kNotFound, or kCorrupt if it is no JSON object.
  [[nodiscard]] static Result<HfConfig> read(const std::string& folder);

  // The object `key`, sharing the list of problems.
  [[nodiscard]] HfConfig section(std::string_view key);
  [[nodiscard]] bool has(std::string_view key) const { return value(key) != nullptr; }
  [[nodiscard]] const Json* value(std::string_view key) const;  // null if absent or null; lives as long as the document

  static constexpr int kMaxExtent = 1 << 24;   // of one dimension; keeps products of absurd values from overflowing
  [[nodiscard]] int integer(std::string_view key, int min = 1, int max = kMaxExtent);
  [[nodiscard]] int integer_or(std::string_view key, int fallback, int min = 0, int max = kMaxExtent);
  [[nodiscard]] double number(std::string_view key);      // positive
  [[nodiscard]] bool flag(std::string_view key);
  [[nodiscard]] bool flag_or(std::string_view key, bool fallback);
  [[nodiscard]] std::string text(std::string_view key);
  [[nodiscard]] std::vector<int> integers(std::string_view key);
  [[nodiscard]] std::vector<std::string> texts(std::string_view key);

  // The only value this build computes; another one is a problem. _if_present: the key may be absent.
  void expect_text(std::string_view key, std::string_view only);
  void expect_text_if_present(std::string_view key, std::string_view only);
  void expect_flag_if_present(std::string_view key, bool only);

  void note_problem(std::string_view key,
                    std::string_view expected);  // "<section>.<key>: expected <expected>, found <value>"
  [[nodiscard]] Status finish() const;                                  // kCorrupt, naming the file and all problems

 private:
  struct Document { std::string path; Json root; std::vector<std::string> problems; };
  HfConfig(std::shared_ptr<Document> document, const Json* object, std::string prefix)
      : document_(std::move(document)), object_(object), prefix_(std::move(prefix)) {}

  std::shared_ptr<Document> document_;   // shared by the sections of one file
  const Json* object_;                   // null: the section is absent
  std::string prefix_;                   // "text_config."
};

}  // namespace gale
