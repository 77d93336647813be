#include "weights/parallel_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "backends/cpu/cpu_backend.h"
#include "base/temp_folder_testing.h"

namespace gale {
namespace {

// A checkpoint of random bytes in several files, read onto "the device" that is this machine's memory.
class ParallelReaderTest : public testing::Test {
 protected:
  ParallelReaderTest() {
    std::mt19937 random(3);
    std::string weight_map;
    constexpr std::array kSizes = {1, 4095, 4096, 4097, 100'000, 300'001};
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const std::string name = "t" + std::to_string(i), file = "m" + std::to_string(i) + ".safetensors";
      std::string data(static_cast<size_t>(kSizes[i]), '\0');
      for (char& c : data) c = static_cast<char>(random());
      std::string header = R"({")" + name + R"(":{"dtype":"U8","shape":[)" + std::to_string(kSizes[i]) +
                           R"(],"data_offsets":[0,)" + std::to_string(kSizes[i]) + "]}}";
      std::string length(8, '\0');
      const uint64_t size = header.size();
      std::memcpy(length.data(), &size, sizeof size);
      folder_.write(file, length + header + data);
      weight_map += (i == 0 ? "" : ",") + ("\"" + name + "\":\"" + file + "\"");
      contents_.push_back(std::move(data));
    }
    folder_.write("model.safetensors.index.json", R"({"weight_map":{)" + weight_map + "}}");
  }

  [[nodiscard]] Checkpoint open() const { return Checkpoint::open(folder_.path().string()).value(); }
  static const StoredTensor& tensor(const Checkpoint& files, size_t i) { return *files.find("t" + std::to_string(i)); }

  TempFolder folder_;
  std::vector<std::string> contents_;
  std::unique_ptr<Device> device_ = make_cpu_device(1);
};

TEST_F(ParallelReaderTest, brings_every_byte_whatever_the_pieces_and_the_way) {
  const Checkpoint files = open();
  for (const bool may_read_direct : {true, false}) {
    for (const size_t piece_bytes : {size_t{1000}, size_t{4096}, size_t{1} << 20}) {
      std::vector<std::vector<Transfer>> groups(1);
      std::vector<std::string> out;
      for (size_t i = 0; i < contents_.size(); ++i) out.emplace_back(contents_[i].size(), '\0');
      const std::string from_memory = "not of any file";
      std::string memory(from_memory.size(), '\0');
      for (size_t i = 0; i < contents_.size(); ++i)
        groups[0].push_back({tensor(files, i).data.data, out[i].data(), out[i].size()});
      groups[0].push_back({from_memory.data(), memory.data(), memory.size()});
      auto reader = ParallelReader::start(
          *device_, &files, groups, {.num_threads = 4, .piece_bytes = piece_bytes, .may_read_direct = may_read_direct});
      ASSERT_TRUE(reader) << reader.error().message;
      ASSERT_TRUE((*reader)->wait_for(0));
      EXPECT_EQ(out, contents_);
      EXPECT_EQ(memory, from_memory);
      EXPECT_EQ((*reader)->totals().bytes, 1u + 4095 + 4096 + 4097 + 100'000 + 300'001 + memory.size());
    }
  }
}

TEST_F(ParallelReaderTest, never_writes_where_a_group_has_not_been_released) {
  const Checkpoint files = open();
  std::array<std::string, 2> halves = {std::string(300'001, '\0'), std::string(300'001, '\0')};
  std::vector<std::vector<Transfer>> groups;
  for (size_t g = 0; g < 20; ++g) {
    const size_t i = g % contents_.size();
    groups.push_back({{tensor(files, i).data.data, halves[g % 2].data(), contents_[i].size()}});
  }
  const auto reader = ParallelReader::start(*device_, &files, groups, {.num_threads = 3, .piece_bytes = 5000}).value();
  for (size_t g = 0; g < groups.size(); ++g) {
    ASSERT_TRUE(reader->wait_for(g));
    const std::string& want = contents_[g % contents_.size()];
    for (int look = 0; look < 3; ++look) {
      EXPECT_EQ(halves[g % 2].substr(0, want.size()), want) << "group " << g;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    reader->release(g);
  }
}

TEST_F(ParallelReaderTest, a_file_that_shrinks_is_told_and_nobody_waits_for_ever) {
  const Checkpoint files = open();
  std::string out(contents_[5].size(), '\0');
  std::filesystem::resize_file(folder_.path() / "m5.safetensors", 200'000);
  const auto reader =
      ParallelReader::start(*device_, &files, {{{tensor(files, 5).data.data, out.data(), out.size()}}, {}},
                            {.num_threads = 2, .piece_bytes = 4096})
          .value();
  const Status done = reader->wait_for(0);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(done.error().message, testing::AllOf(testing::HasSubstr("m5.safetensors"), testing::HasSubstr("shrank")));
}

}  // namespace
}  // namespace gale
