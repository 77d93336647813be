#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "base/bounded_queue.h"
#include "base/check.h"
#include "base/json.h"
#include "base/last_words.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/temp_folder_testing.h"
#include "base/utf8.h"

namespace gale {
namespace {

TEST(Json, keeps_key_order_and_exact_integers) {
  const auto value = parse_json(R"({"z":1,"a":[18446744073709551615,-9223372036854775808,1.5],"m":null})");
  ASSERT_TRUE(value);
  EXPECT_EQ(dump_json(*value), R"({"z":1,"a":[18446744073709551615,-9223372036854775808,1.5],"m":null})");
}

TEST(Json, refuses_what_rfc_8259_refuses) {
  for (const char* text :
       {"", "{", "{\"a\":1,}", "[1,]", "{'a':1}", "NaN", "[1] x", "\"\xff\"", "{\"a\":1,\"a\":2}", "01", "\"\\ud800\""})
    EXPECT_FALSE(parse_json(text)) << text;
}

TEST(Json, says_where_a_text_stops_being_json) {
  EXPECT_EQ(parse_json("{\"a\": [}").error().message, "invalid JSON: line 1, column 8: this cannot stand here");
  EXPECT_EQ(parse_json("{\n \"a\" 1}").error().message, "invalid JSON: line 2, column 6: this cannot stand here");
  EXPECT_EQ(parse_json("[1, 2").error().message, "invalid JSON: the text ends too early");
  const Error big = parse_json(R"({"a": 1.5, "seed": 1180591620717411303424, "b": 1})").error();
  EXPECT_EQ(big.message, "\"seed\": whole numbers may be from -2^63 to 2^64 - 1");
  EXPECT_EQ(big.param, "seed");
  EXPECT_EQ(parse_json(R"({"a\nb":1,"a\nb":2})").error().message, R"(duplicate key "a\nb" in an object)");
}

template <class T>
concept ComparesWithLiterals = requires(const T& value) { value == "x"; } || requires(const T& value) { "x" != value; };
static_assert(ComparesWithLiterals<std::string> && !ComparesWithLiterals<Json>);

TEST(Json, refuses_depth_over_the_limit) {
  EXPECT_TRUE(parse_json(std::string(100, '[') + std::string(100, ']')));
  EXPECT_FALSE(parse_json(std::string(200, '[') + std::string(200, ']')));
}

TEST(Json, appended_strings_parse_back) {
  std::string all;
  for (int c = 1; c < 128; ++c) all += static_cast<char>(c);
  all += "é漢😀";
  std::string literal;
  append_json_string(literal, all);
  const auto value = parse_json(literal);
  ASSERT_TRUE(value);
  EXPECT_EQ(value->get<std::string>(), all);
}

TEST(Utf8, decodes_and_refuses_by_the_unicode_table) {
  EXPECT_EQ(decode_utf8("é").value, 0xE9u);
  EXPECT_EQ(decode_utf8("😀").value, 0x1F600u);
  for (const char* bad : {"\x80", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xFF"}) {
    EXPECT_FALSE(is_valid_utf8(bad));
    EXPECT_EQ(decode_utf8(bad).value, kInvalidCodePoint);
  }
}

TEST(Utf8, holds_back_only_what_can_still_be_completed) {
  const std::string smile = "a😀";
  for (size_t n = 1; n < smile.size(); ++n) EXPECT_EQ(complete_utf8_prefix(smile.substr(0, n)), 1u);
  EXPECT_EQ(complete_utf8_prefix(smile), smile.size());
  EXPECT_EQ(complete_utf8_prefix("a\xFF"), 2u);
  EXPECT_EQ(complete_utf8_prefix("\x80\x80\x80"), 3u);
}

TEST(Utf8, replaces_maximal_invalid_sequences) {
  EXPECT_EQ(replace_invalid_utf8("a\xE2\x82z\xFF"), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
}

TEST(Log, escapes_control_characters) { EXPECT_EQ(escape_control("a\nb\x1b[0m\x7f"), "a\\nb\\x1b[0m\\x7f"); }

Json read_line(const std::string& line) {
  const Result<Json> read = parse_json(line);
  EXPECT_TRUE(read) << line;
  return read ? *read : Json::object();
}

TEST(Log, a_json_line_gives_back_what_was_said) {
  const std::string text = "a \"quoted\"\nline\\ with \x01 and é, 漢字, 🙂 and DEL \x7f";
  const std::string id = "req-\t1";
  const Json line = read_line(json_log_line(LogLevel::kWarning, text,
                                            {{"request_id", id}, {"status", int64_t{200}}, {"ms", 1.5}}));
  EXPECT_EQ(line["message"], text);
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["request_id"], id);
  EXPECT_TRUE(line["status"].is_number_integer());
  EXPECT_EQ(line["ms"], 1.5);
  EXPECT_EQ(line["time"].get<std::string>().size(), std::string("2026-11-27T10:20:30.123Z").size());
}

TEST(Log, a_json_line_is_utf8_and_one_write_of_a_pipe_whatever_it_is_given) {
  constexpr size_t kPipeBuf = 4096;
  for (const char* piece : {"x", "\x01", "\xff", "é", "\xe6\xbc", "\"", "🙂"}) {
    std::string text;
    for (int i = 0; i < 20000; ++i) text += piece;
    const std::string line = json_log_line(LogLevel::kInfo, text, {{"path", text}, {"request_id", text}, {"ms", 0.1}});
    EXPECT_LT(line.size(), kPipeBuf) << piece;
    EXPECT_TRUE(is_valid_utf8(line));
    EXPECT_TRUE(read_line(line)["message"].get<std::string>().ends_with("…"));
  }
}

TEST(Log, numbers_that_json_has_no_word_for_are_null) {
  const std::string line = json_log_line(LogLevel::kInfo, "", {{"ms", std::numeric_limits<double>::infinity()}});
  EXPECT_TRUE(read_line(line)["ms"].is_null());
}

TEST(MappedFile, maps_reads_and_names_the_missing_path) {
  const TempFolder folder;
  const std::string path = folder.write("five.bin", "hello");
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->bytes().size(), 5u);
  EXPECT_EQ(read_file(path, 10).value(), "hello");
  EXPECT_EQ(read_file(path, 4).error().code, ErrorCode::kTooLarge);
  ASSERT_EQ(std::remove(path.c_str()), 0);
  const auto missing = MappedFile::open(path);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find(path), std::string::npos);
  EXPECT_FALSE(MappedFile::open("/"));
}

TEST(BoundedQueue, says_no_when_full_and_drains_after_close) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.try_push(1));
  EXPECT_TRUE(queue.try_push(2));
  EXPECT_FALSE(queue.try_push(3));
  queue.close();
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(CheckDeathTest, lets_a_process_tell_others_and_end_by_itself) {
  const auto fail_with_last_words = [] {
    set_last_words([](const std::string& line) {
      std::fputs(("heard: " + line).c_str(), stderr);
      std::_Exit(71);
    });
    CHECK(1 == 2, "one {}", 1);
  };
  EXPECT_EXIT(fail_with_last_words(), testing::ExitedWithCode(71), "heard: CHECK failed: 1 == 2 one 1");
  const auto fail_twice = [] {
    set_last_words([](const std::string&) { CHECK(3 == 4); });
    CHECK(1 == 2);
  };
  EXPECT_EXIT(fail_twice(), testing::KilledBySignal(SIGABRT), "3 == 4");
}

TEST(CheckDeathTest, prints_values_and_aborts) {
  EXPECT_DEATH(CHECK(1 == 2, "one {}", 1), "CHECK failed: 1 == 2 one 1");
}

}  // namespace
}  // namespace gale
