#include "weights/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/temp_folder_testing.h"
#include "weights/weight_set.h"

namespace gale {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CheckpointTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text); }
  // Length, header padded so that data is aligned, `num_bytes` of data.
  void write_tensors(const std::string& name, std::string header, size_t num_bytes) const {
    header.resize((header.size() + 7) / 8 * 8, ' ');
    write(name, length(header.size()) + header + std::string(num_bytes, '\1'));
  }
  static std::string length(uint64_t value) {
    std::string out(8, '\0');
    for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(value >> (8 * i) & 0xff);
    return out;
  }
  void expect_error(ErrorCode code, const testing::Matcher<std::string>& message) const {
    const Result<Checkpoint> checkpoint = Checkpoint::open(folder_.path().string());
    ASSERT_FALSE(checkpoint);
    EXPECT_EQ(checkpoint.error().code, code) << checkpoint.error().message;
    EXPECT_THAT(checkpoint.error().message, message);
  }
  void expect_header_error(const std::string& header, size_t num_bytes, ErrorCode code,
                           const testing::Matcher<std::string>& message) const {
    write_tensors("model.safetensors", header, num_bytes);
    expect_error(code, message);
  }

  TempFolder folder_;
};

TEST_F(CheckpointTest, reads_shapes_and_data_in_place) {
  write_tensors("model.safetensors",
                R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
                R"("a":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]}})",
                16);
  const Checkpoint checkpoint = Checkpoint::open(folder_.path().string()).value();
  ASSERT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.find("a")->data.describe(), "f32 [3, 1]");
  EXPECT_EQ(checkpoint.find("b")->data.as<uint16_t>()[1], 0x0101);
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

TEST_F(CheckpointTest, refuses_headers_that_lie_about_their_length) {
  write("model.safetensors", "1234");
  expect_error(ErrorCode::kCorrupt, HasSubstr("too few"));
  write("model.safetensors", length(100'000'001) + "{}");
  expect_error(ErrorCode::kCorrupt, HasSubstr("at most 100000000"));
  write("model.safetensors", length(~uint64_t{0}) + "{}");
  expect_error(ErrorCode::kCorrupt, HasSubstr("at most 100000000"));
  write("model.safetensors", length(50) + "{}");
  expect_error(ErrorCode::kCorrupt, HasSubstr("truncated?"));
}

TEST_F(CheckpointTest, refuses_headers_that_are_no_description_of_tensors) {
  expect_header_error("[1]", 0, ErrorCode::kCorrupt, HasSubstr("not a JSON object"));
  expect_header_error("{\"a\":", 0, ErrorCode::kCorrupt, HasSubstr("header"));
  expect_header_error(R"({"a":7})", 0, ErrorCode::kCorrupt, HasSubstr("tensor a has no dtype"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, ErrorCode::kCorrupt,
                      HasSubstr("shape must be"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, ErrorCode::kCorrupt,
                      HasSubstr("shape must be"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, ErrorCode::kCorrupt,
                      HasSubstr("data_offsets must be"));
  expect_header_error(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      8, ErrorCode::kCorrupt, HasSubstr("duplicate key"));
}

TEST_F(CheckpointTest, names_the_unknown_dtype) {
  expect_header_error(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", 1, ErrorCode::kUnimplemented,
                      HasSubstr("tensor a has the unknown dtype F4"));
}

TEST_F(CheckpointTest, refuses_tensors_outside_the_file) {
  expect_header_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, ErrorCode::kCorrupt,
                      HasSubstr("truncated?"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775800,9223372036854775804]}})",
                      4, ErrorCode::kCorrupt, HasSubstr("of 4 bytes of data"));
}

TEST_F(CheckpointTest, refuses_shapes_that_do_not_fill_their_bytes) {
  expect_header_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, ErrorCode::kCorrupt,
                      HasSubstr("does not fill its 4 bytes"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                      ErrorCode::kCorrupt, HasSubstr("does not fill"));
}

TEST_F(CheckpointTest, refuses_overlaps_and_holes) {
  expect_header_error(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      8, ErrorCode::kCorrupt, HasSubstr("tensor b overlaps a"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, ErrorCode::kCorrupt,
                      HasSubstr("4 bytes between the start"));
  expect_header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 9, ErrorCode::kCorrupt,
                      HasSubstr("5 bytes behind the last"));
}

TEST_F(CheckpointTest, refuses_misaligned_tensors) {
  expect_header_error(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
      5, ErrorCode::kUnimplemented, HasSubstr("tensor b is not aligned"));
}

constexpr const char* kOneTensor = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

TEST_F(CheckpointTest, index_may_not_lead_out_of_the_folder) {
  for (const char* escape : {"../secret", "/etc/passwd", "sub/file", "..", "", "a\\\\b"}) {
    write("model.safetensors.index.json", std::string(R"({"weight_map":{"a":")") + escape + "\"}}");
    expect_error(ErrorCode::kCorrupt, HasSubstr("not a file name inside the folder"));
  }
}

TEST_F(CheckpointTest, index_must_agree_with_its_files) {
  write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors"}})");
  expect_error(ErrorCode::kNotFound, HasSubstr("1.safetensors"));
  write_tensors("1.safetensors", kOneTensor, 4);
  EXPECT_TRUE(Checkpoint::open(folder_.path().string()));
  write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors"}})");
  expect_error(ErrorCode::kCorrupt, HasSubstr("tensor b should be in 1.safetensors and is not"));
  write_tensors("2.safetensors", kOneTensor, 4);
  write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  expect_error(ErrorCode::kCorrupt, HasSubstr("tensor a is in 1.safetensors and in 2.safetensors"));
  write("model.safetensors.index.json", R"({"weight_map":[]})");
  expect_error(ErrorCode::kCorrupt, HasSubstr("no object \"weight_map\""));
}

TEST_F(CheckpointTest, claims_are_counted_by_use_and_leftovers_fail) {
  write_tensors(
      "model.safetensors",
      R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},)"
      R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
      R"("c":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}})",
      24);
  const Checkpoint checkpoint = Checkpoint::open(folder_.path().string()).value();
  WeightSet weights(checkpoint);
  EXPECT_NE(weights.claim({.name = "a", .shape = {3}, .owner = "norm"}).data, nullptr);
  EXPECT_NE(weights.claim({.name = "b", .shape = {2}, .owner = "tower", .use = WeightUse::kNotUsed}).data, nullptr);
  EXPECT_EQ(weights.num_parameters_in_use(), 3);
  EXPECT_EQ(weights.bytes_in_use(), 12u);
  EXPECT_EQ(describe(weights.claims().at("b")), "not used: tower");
  EXPECT_THAT(weights.finish().error().message, AllOf(HasSubstr("1 problem with"), HasSubstr("c: not expected")));
  EXPECT_EQ(weights.claim({.name = "c", .shape = {4}, .owner = "bias", .dtype = WeightDType::kF32}).data, nullptr);
  EXPECT_THAT(weights.finish().error().message, HasSubstr("c: expected f32 [4], model.safetensors has bf16 [4]"));
}

TEST_F(CheckpointTest, a_second_claim_is_our_own_mistake) {
  write_tensors("model.safetensors", kOneTensor, 4);
  const Checkpoint checkpoint = Checkpoint::open(folder_.path().string()).value();
  WeightSet weights(checkpoint);
  weights.claim({.name = "a", .shape = {1}, .owner = "norm"});
  EXPECT_DEATH(weights.claim({.name = "a", .shape = {1}, .owner = "head"}), "a is claimed by norm and by head");
}

}  // namespace
}  // namespace gale
