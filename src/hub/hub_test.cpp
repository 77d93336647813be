#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/temp_folder_testing.h"
#include "hub/file_digest.h"
#include "hub/hub.h"
#include "hub/hub_cache.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

TEST(HubName, is_an_owner_and_a_name) {
  for (const char* good : {"zai-org/GLM-4.7-Flash", "a/b", "A_1/b.c-d"}) EXPECT_TRUE(is_hub_name(good)) << good;
  for (const char* bad : {"", "a", "/a", "a/", "a/b/c", "./a", "../a", "a/..", "a/b..c", "a--b/c", "a b/c", "-a/b",
                          "/models/glm", "a/b\n", "https://x/y"}) {
    EXPECT_FALSE(is_hub_name(bad)) << bad;
  }
}

TEST(HubNames, of_files_lead_nowhere_else) {
  for (const char* bad : {"", ".", "..", "a/b", "/a", "../a", ".hidden", "a\\b", "a\nb"}) {
    EXPECT_FALSE(is_plain_file_name(bad)) << bad;
    EXPECT_FALSE(is_etag(bad)) << bad;
  }
  EXPECT_TRUE(is_plain_file_name("model-00001-of-00048.safetensors"));
  for (const char* bad : {"", "/etc", "a/../b", "..", ".x", "a//b", "a/", "a/.git"})
    EXPECT_FALSE(is_revision(bad)) << bad;
  for (const char* good : {"main", "refs/pr/1", "v1.0"}) EXPECT_TRUE(is_revision(good)) << good;
}

// As `sha256sum` and `git hash-object` have them.
TEST(FileDigest, knows_both_kinds_of_names) {
  for (const char* etag : {"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                           "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", "a-name-that-says-nothing"}) {
    FileDigest digest(etag, 5);
    digest.add("other");
    EXPECT_EQ(digest.matches(), std::string_view(etag).starts_with("a-name"));
    digest.restart();
    digest.add("hel");
    digest.add("lo");
    EXPECT_TRUE(digest.matches()) << etag;
  }
}

class Cache : public testing::Test {
 protected:
  TempFolder temporary_;
  const std::string folder_ = temporary_.path();
};

TEST_F(Cache, is_laid_out_as_python_does_it) {
  const HubCache cache(folder_, "org/model");
  const std::string commit(40, 'a');
  ASSERT_TRUE(cache.make_folders(commit));
  std::ofstream(cache.blob("etag1")) << "x";
  EXPECT_FALSE(cache.has(commit, "config.json"));
  ASSERT_TRUE(cache.link(commit, "config.json", "etag1"));
  EXPECT_TRUE(cache.has(commit, "config.json"));
  EXPECT_EQ(fs::read_symlink(folder_ + "/models--org--model/snapshots/" + commit + "/config.json"),
            "../../blobs/etag1");
  EXPECT_FALSE(cache.commit_of("main"));
  ASSERT_TRUE(cache.set_commit("main", commit));
  EXPECT_EQ(cache.commit_of("main"), commit);
  std::ofstream(folder_ + "/models--org--model/refs/main") << "../../elsewhere";
  EXPECT_FALSE(cache.commit_of("main"));
}

TEST_F(Cache, gives_a_lock_to_one) {
  const HubCache cache(folder_, "org/model");
  ASSERT_TRUE(cache.make_folders(std::string(40, 'a')));
  const auto never = [] { return false; };
  Result<UniqueFd> first = cache.lock("etag1", never);
  ASSERT_TRUE(first);
  EXPECT_TRUE(cache.lock("etag2", never));
  EXPECT_EQ(cache.lock("etag1", [] { return true; }).error().code, ErrorCode::kCancelled);
  first->reset();
  EXPECT_TRUE(cache.lock("etag1", never));
}

}   // namespace
}   // namespace gale
