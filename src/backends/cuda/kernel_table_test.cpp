#include "backends/cuda/kernel_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/built_in_tables.h"
#include "base/temp_folder_testing.h"

namespace gale::cuda {
namespace {

using ::testing::HasSubstr;

const CardFacts kCard{"NVIDIA H100 80GB HBM3", 90, 132};
constexpr ProductShape kQkv{.op = ProductOp::kLinear, .num_rows = 4608, .num_cols = 4096};
const std::string kHead =
    R"({"card":"NVIDIA H100 80GB HBM3","compute_capability":90,"num_sms":132,"kernels":"abc"})"
    "\n";
const std::string kEntry =
    R"({"op":"linear","weights":"bf16","n":4608,"k":4096,"matrices":1,"chosen":1,"max_tokens":8,)"
    R"("kernel":"skinny:16","us":11.5,"heuristic_us":12.25})"
    "\n";

KernelTable table_with(int bucket, const Candidate& kernel) {
  KernelTable table{.card = kCard, .kernels = std::string(kernels_version())};
  table.entries[key_of(kQkv)][bucket] = {.kernel = kernel, .microseconds = 11.5, .heuristic_microseconds = 12.25};
  return table;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

std::string error_of(const std::string& text) {
  const Result<KernelTable> table = parse_kernel_table(text, "t.jsonl");
  return table ? "" : table.error().message;
}

TEST(KernelTable, gives_the_choice_of_a_bucket_and_the_heuristic_elsewhere) {
  const Result<KernelTable> table = parse_kernel_table(kHead + "\n" + kEntry, "t.jsonl");
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->card, kCard);
  EXPECT_EQ(name_of(table->choice(key_of(kQkv), 1)), "skinny:16");
  EXPECT_EQ(name_of(table->choice(key_of(kQkv), 8)), "skinny:16");
  EXPECT_EQ(table->choice(key_of(kQkv), 9), Candidate{});
  ProductKey other = key_of(kQkv);
  other.is_fp8 = true;
  EXPECT_EQ(table->find(other, 8), nullptr);
}

TEST(KernelTable, reads_back_what_it_writes) {
  KernelTable table = table_with(8, {ProductKernel::kSkinny, 16, 1});
  table.entries[{ProductOp::kMoeUp, true, 3072, 2048, 65}][1024] = {
      .kernel = {ProductKernel::kWide, 0, 1}, .num_chosen = 5, .microseconds = 1};
  const Result<KernelTable> again = parse_kernel_table(to_text(table), "t.jsonl");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, table);
}

TEST(KernelTable, names_file_line_and_field_of_what_is_wrong) {
  EXPECT_THAT(error_of(""), HasSubstr("t.jsonl: a kernel table begins with"));
  EXPECT_THAT(error_of("{"), HasSubstr("t.jsonl:1: "));
  EXPECT_THAT(error_of("[]"), HasSubstr("t.jsonl:1: expected an object"));
  EXPECT_THAT(error_of(replaced(kHead, "132", "\"many\"")), HasSubstr("t.jsonl:1: \"num_sms\" is \"many\""));
  EXPECT_THAT(error_of(replaced(kHead, "\"card\"", "\"crad\"")), HasSubstr("t.jsonl:1: \"card\" is missing"));
  const auto in_entry = [](const std::string& from, const std::string& to) {
    return error_of(kHead + replaced(kEntry, from, to));
  };
  EXPECT_THAT(in_entry("\"linear\"", "\"conv\""), HasSubstr("t.jsonl:2: \"op\" is \"conv\", expected one of linear, "));
  EXPECT_THAT(in_entry("bf16", "fp4"), HasSubstr("t.jsonl:2: \"weights\" is \"fp4\", expected bf16 or fp8"));
  EXPECT_THAT(in_entry("4608", "0"), HasSubstr("t.jsonl:2: \"n\" is 0"));
  EXPECT_THAT(in_entry("\"max_tokens\":8", "\"max_tokens\":9"),
              HasSubstr("t.jsonl:2: \"max_tokens\" is 9, expected one of 8, 16, "));
  EXPECT_THAT(in_entry("skinny:16", "skinny:7"),
              HasSubstr("t.jsonl:2: \"kernel\" is \"skinny:7\", expected one of heuristic, skinny:16, "));
  EXPECT_THAT(in_entry("11.5", "-1"), HasSubstr("t.jsonl:2: \"us\" is -1"));
  EXPECT_THAT(in_entry("\"us\"", "\"usec\":1,\"us\""), HasSubstr("t.jsonl:2: unknown field \"usec\""));
  EXPECT_THAT(error_of(kHead + kEntry + kEntry), HasSubstr("t.jsonl:3: this product and max_tokens 8 stand in"));
}

TEST(KernelTable, is_added_to_but_for_other_kernels_and_refused_for_other_cards) {
  const KernelTable old = table_with(8, {ProductKernel::kSkinny, 16, 1});
  Result<KernelTable> both = merged(old, table_with(16, {ProductKernel::kSkinny, 32, 1}));
  ASSERT_TRUE(both);
  EXPECT_EQ(both->entries.at(key_of(kQkv)).size(), 2u);
  both = merged(old, table_with(8, {ProductKernel::kSkinny, 32, 1}));
  EXPECT_EQ(name_of(both->choice(key_of(kQkv), 8)), "skinny:32") << "the newer one counts";
  KernelTable stale = old;
  stale.kernels = "others";
  both = merged(stale, table_with(16, {ProductKernel::kSkinny, 32, 1}));
  EXPECT_EQ(both->entries.at(key_of(kQkv)).size(), 1u);
  KernelTable foreign = old;
  foreign.card.num_sms = 114;
  both = merged(foreign, table_with(16, {ProductKernel::kSkinny, 32, 1}));
  ASSERT_FALSE(both);
  EXPECT_THAT(both.error().message, HasSubstr("114 SMs), this card is NVIDIA H100 80GB HBM3 (compute capability 9.0"));
}

TEST(LoadKernelTable, reads_the_file_of_this_card_also_if_other_kernels_were_measured) {
  const TempFolder folder;
  const std::string path = folder.write("table.jsonl", kHead + kEntry);   // "abc" is no digest
  const Result<KernelTable> table = load_kernel_table(kCard, path);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(name_of(table->choice(key_of(kQkv), 8)), "skinny:16");
  CardFacts other = kCard;
  other.name = "NVIDIA H200";
  const Result<KernelTable> foreign = load_kernel_table(other, path);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(foreign.error().message, HasSubstr("measure it with gale tune"));
}

TEST(LoadKernelTable, says_which_file_is_not_there) {
  const Result<KernelTable> table = load_kernel_table(kCard, "no/such/file");
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(table.error().message, HasSubstr("no/such/file"));
}

TEST(LoadKernelTable, is_empty_if_off_and_for_a_card_that_nobody_measured) {
  for (const char* file : {"off", ""}) {
    const Result<KernelTable> table = load_kernel_table({"no such card", 90, 1}, file);
    ASSERT_TRUE(table);
    EXPECT_TRUE(table->entries.empty());
    EXPECT_EQ(table->card.name, "no such card");
  }
}

// Those of src/backends/cuda/tables: a start trusts them.
TEST(BuiltInTables, are_right_and_of_one_card_each) {
  EXPECT_EQ(kernels_version().size(), 12u);
  std::vector<std::string> cards;
  for (const BuiltInTable& built_in : built_in_tables()) {
    const Result<KernelTable> table = parse_kernel_table(built_in.text, std::string(built_in.file));
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(to_text(*table), built_in.text);
    EXPECT_THAT(cards, ::testing::Not(::testing::Contains(table->card.name)));
    cards.push_back(table->card.name);
  }
}

}  // namespace
}  // namespace gale::cuda
