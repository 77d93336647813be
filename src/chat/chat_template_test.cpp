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

}  // namespace
}  // namespace gale
