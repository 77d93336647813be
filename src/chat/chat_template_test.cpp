#include "chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gale {
namespace {

using testing::HasSubstr;

TEST(ChatTemplate, a_filter_without_a_name_is_refused) {
  const auto parsed = ChatTemplate::parse("{{ messages | 0 }}", nullptr);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, HasSubstr("malformed"));
}

TEST(ChatTemplate, words_that_sound_like_a_lack_of_memory_are_a_refusal_like_others) {
  for (const std::string source : {"{{ raise_exception('std::bad_alloc') }}", "{{ f('std::bad_alloc') }}"}) {
    const auto parsed = ChatTemplate::parse(source, nullptr);
    ASSERT_TRUE(parsed) << source;
    const auto rendered = (*parsed)->render({});
    ASSERT_FALSE(rendered) << source;
    EXPECT_EQ(rendered.error().code, ErrorCode::kInvalidArgument) << source;
  }
}

}  // namespace
}  // namespace gale
