#include <gtest/gtest.h>

#include <algorithm>

#include "media/document_text.h"
#include "media/sandbox.h"

namespace gale {
namespace {

SandboxLimits quick() {
  return {.wall_time = std::chrono::seconds(60),
          .cpu_seconds = 1,
          .memory_bytes = size_t{256} << 20,
          .output_bytes = 1000};
}

Result<SandboxResult> shell(const std::string& script, std::string_view input = "", SandboxLimits limits = quick()) {
  return run_in_sandbox({"/bin/bash", "-c", script}, input, limits);
}

TEST(Sandbox, hands_the_bytes_over_and_takes_the_output) {
  const auto result = shell("read -r line; echo \"got $line\"; echo trouble >&2; exit 3", "some bytes\n");
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "got some bytes\n");
  EXPECT_EQ(result->complaint, "trouble\n");
  EXPECT_EQ(result->exit_code, 3);
}

TEST(Sandbox, has_an_empty_environment_and_no_other_descriptors) {
  const auto result = shell("echo \"$HOME$USER\"; echo /proc/self/fd/*");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output.substr(0, result->output.find('\n')), "");
  EXPECT_EQ(result->output.find("/proc/self/fd/5"), std::string::npos) << result->output;
}

TEST(Sandbox, refuses_network_processes_and_changed_files) {
  for (const char* script : {"exec 3<>/dev/tcp/127.0.0.1/1", "echo x > /tmp/gale-sandbox-test",
                             "echo x >> /tmp/gale-sandbox-test", "/bin/true & wait"}) {
    const auto result = shell(script);
    ASSERT_TRUE(result) << script;
    EXPECT_NE(result->exit_code, 0) << script;
    const bool is_refused = result->complaint.find("not permitted") != std::string::npos;
    EXPECT_TRUE(is_refused) << script << ": " << result->complaint;
  }
}

TEST(Sandbox, bounds_time_computing_memory_and_output) {
  auto limits = quick();
  limits.wall_time = std::chrono::milliseconds(200);
  EXPECT_EQ(shell("read -r -t 10 x <> /dev/null; while :; do :; done", "", limits).error().code, ErrorCode::kDeadline);
  EXPECT_EQ(shell("while :; do :; done").error().code, ErrorCode::kDeadline);
  EXPECT_EQ(shell("while :; do echo 0123456789; done").error().code, ErrorCode::kTooLarge);
  const auto hungry = shell("x=0123456789abcdef; while :; do x=$x$x; done");
  EXPECT_TRUE(!hungry || hungry->exit_code != 0);
  EXPECT_EQ(run_in_sandbox({"/nowhere/program"}, "", quick()).error().code, ErrorCode::kNotFound);
}

std::string page_of(std::string_view bytes) {
  const auto text = read_document(bytes);
  return text ? text->pages.at(0) : "trouble: " + std::string(trouble_name(text.error()));
}

TEST(DocumentText, reads_the_encodings_people_have) {
  EXPECT_EQ(page_of("plain\r\ntext\rold"), "plain\ntext\nold");
  EXPECT_EQ(page_of("\xEF\xBB\xBFmarked"), "marked");
  EXPECT_EQ(page_of("caf\xC3\xA9 \xE4\xB8\xAD"), "café 中");
  EXPECT_EQ(page_of("\xD6\xD0\xCE\xC4\xCE\xC4\xB1\xBE, GBK"), "中文文本, GBK");
  EXPECT_EQ(page_of("a caf\xE9 na\xEFve r\xE9sum\xE9"), "a café naïve résumé");
  EXPECT_EQ(page_of(std::string_view("\xFF\xFEh\0i\0\x2D\x4E", 8)), "hi中");
  EXPECT_EQ(page_of(std::string_view("\xFE\xFF\0h\0i\x4E\x2D", 8)), "hi中");
}

TEST(DocumentText, refuses_what_is_no_text) {
  EXPECT_EQ(page_of(std::string_view("\x7F" "ELF\2\1\1\0\0\0\0", 11)), "trouble: not_text");
  EXPECT_EQ(page_of("\x89PNG\r\n\x1a\n\1\2\3\4\5\6"), "trouble: not_text");
  EXPECT_EQ(page_of(std::string_view("\xFF\xFEh", 3)), "trouble: not_text");       // half a character
  EXPECT_EQ(page_of(" \n\t"), "trouble: no_text");
  EXPECT_EQ(page_of(""), "trouble: no_text");
  EXPECT_EQ(page_of(std::string((size_t{8} << 20) + 1, 'a')), "trouble: too_long");
}

// A PDF without a table of contents, which readers mend.
std::string pdf_with(const std::vector<std::string>& texts) {
  std::string out =
      "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n3 0 "
      "obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n";
  std::string kids;
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t page = 10 + 2 * i, content = page + 1;
    const std::string stream = "BT /F 12 Tf 72 700 Td (" + texts[i] + ") Tj ET";
    out += fmt::format(
        "{} 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>>>/Contents {} 0 "
        "R>>endobj\n",
        page, content);
    out += fmt::format("{} 0 obj<</Length {}>>stream\n{}\nendstream endobj\n", content, stream.size(), stream);
    kids += fmt::format("{} 0 R ", page);
  }
  return out + fmt::format("2 0 obj<</Type/Pages/Count {}/Kids[{}]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
                           texts.size(), kids);
}

TEST(DocumentText, reads_a_pdf_page_by_page) {
  const auto text = read_document(pdf_with({"The first page", "The second page"}));
  ASSERT_TRUE(text) << trouble_name(text.error());
  ASSERT_EQ(text->pages.size(), 2u);
  EXPECT_NE(text->pages[0].find("The first page"), std::string::npos);
  EXPECT_NE(text->pages[1].find("The second page"), std::string::npos);
}

TEST(DocumentText, says_what_is_wrong_with_a_pdf) {
  EXPECT_EQ(page_of("%PDF-1.4\nnothing of a PDF"), "trouble: damaged");
  EXPECT_EQ(page_of(pdf_with({""})), "trouble: no_text");
}

}  // namespace
}  // namespace gale
