#include "chat/optional_groups.h"

#include <gtest/gtest.h>

namespace gale {
namespace {

TEST(OptionalGroups, of_patterns_are_counted) {
  EXPECT_EQ(with_counted_options("^a(xb+)?c?$"), "^a(xb+){0,1}c?$");
  EXPECT_EQ(with_counted_options("((a)?b)?"), "((a){0,1}b){0,1}");
  for (const char* same : {"(a)??", R"(\)?)", "[)?]", R"([\])?])", "(a)+", "", "(a) ?", "[", "\\", "(a)"})
    EXPECT_EQ(with_counted_options(same), same);
}

TEST(OptionalGroups, of_grammars_are_counted_outside_of_their_text) {
  EXPECT_EQ(grammar_with_counted_options(R"(root ::= "a" ("x" "b"+)? "c"?)"), R"(root ::= "a" ("x" "b"+){0,1} "c"?)");
  EXPECT_EQ(grammar_with_counted_options("root ::= (\"a\") \n ?"), "root ::= (\"a\"){0,1}");
  for (const char* same : {R"(root ::= "(a)?" "\")?")", "root ::= [)?]", "# (a)?\nroot ::= \"a\"", "\"", "#", "[", ")"})
    EXPECT_EQ(grammar_with_counted_options(same), same);
}

}  // namespace
}  // namespace gale
