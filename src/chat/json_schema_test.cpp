#include "chat/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gale {
namespace {

struct Prepared {
  const char* given;
  const char* prepared;
};
class SchemaPreparation : public testing::TestWithParam<Prepared> {};

TEST_P(SchemaPreparation, closes_what_is_open) {
  const auto prepared = prepare_schema(Json::parse(GetParam().given), "schema", SchemaDemand::kAll);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(*prepared, Json::parse(GetParam().prepared)) << prepared->dump();
}

INSTANTIATE_TEST_SUITE_P(
    Table, SchemaPreparation,
    testing::Values(
        Prepared{R"(true)", R"({})"},
        Prepared{R"({})", R"({})"},
        Prepared{R"({"type": "object"})", R"({"type": "object", "additionalProperties": true})"},
        Prepared{R"({"properties": {"a": {}}})", R"({"properties": {"a": {}}, "type": "object"})"},
        Prepared{R"({"type": "object", "required": ["b"]})",
                 R"({"type": "object", "required": ["b"], "properties": {"b": {}}})"},
        Prepared{R"({"type": "array"})", R"({"type": "array", "items": {}})"},
        Prepared{R"({"type": "array", "items": [{"type": "null"}], "additionalItems": false})",
                 R"({"type": "array", "prefixItems": [{"type": "null"}], "items": false})"},
        Prepared{R"({"type": "array", "items": {"type": "string"}, "uniqueItems": false})",
                 R"({"type": "array", "items": {"type": "string"}})"},
        Prepared{R"({"type": "string", "maxLength": 5})", R"({"type": "string", "pattern": "^[\\s\\S]{0,5}$"})"},
        Prepared{R"({"type": "string", "pattern": "^[^\"\\\\]+\\.\\d[\\s\\S]\\u4e00$"})",
                 R"({"type": "string", "pattern": "^[^\"\\\\]+\\.\\d[\\s\\S]\\u4e00$"})"},
        Prepared{R"({"type": "string", "minLength": 2})", R"({"type": "string", "pattern": "^[\\s\\S]{2,}$"})"},
        Prepared{R"({"type": "string", "enum": ["a", null]})", R"({"enum": ["a"]})"},
        Prepared{R"({"const": 4})", R"({"enum": [4]})"},
        Prepared{R"({"type": "integer", "format": "int32"})", R"({"type": "integer"})"},
        Prepared{R"({"anyOf": [{"type": "string"}, {"type": "null"}], "title": "T"})",
                 R"({"anyOf": [{"type": "string"}, {"type": "null"}], "title": "T"})"},
        Prepared{R"({"type": ["string", "null"], "anyOf": [{"type": "string"}, {"type": "null"}]})",
                 R"({"anyOf": [{"type": "string"}, {"type": "null"}]})"},
        Prepared{R"({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}})",
                 R"({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "additionalProperties": true}}})"},
        Prepared{R"({"type": "object", "properties": {"a": {"x-note": 1}}, "unevaluatedProperties": false})",
                 R"({"type": "object", "properties": {"a": {"x-note": 1}}, "additionalProperties": false})"}));

struct Refused {
  const char* schema;
  const char* param;
};
class SchemaRefusal : public testing::TestWithParam<Refused> {};

TEST_P(SchemaRefusal, names_the_place) {
  const auto prepared = prepare_schema(Json::parse(GetParam().schema), "schema", SchemaDemand::kAll);
  ASSERT_FALSE(prepared) << prepared->dump();
  EXPECT_EQ(prepared.error().param, GetParam().param);
  EXPECT_THAT(prepared.error().message, testing::StartsWith(std::string(GetParam().param) + ": "));
}

INSTANTIATE_TEST_SUITE_P(
    Table, SchemaRefusal,
    testing::Values(
        Refused{R"(false)", "schema"}, Refused{R"(7)", "schema"},
        Refused{R"({"type": "object", "properties": {"a": false}})", "schema.properties.a"},
        Refused{R"({"not": {"type": "string"}})", "schema.not"}, Refused{R"({"if": {}, "then": {}})", "schema.if"},
        Refused{R"({"type": "object", "properties": {"a": {"type": "array", "items": {"not": {}}}}})",
                "schema.properties.a.items.not"},
        Refused{R"({"type": "array", "uniqueItems": true})", "schema.uniqueItems"},
        Refused{R"({"type": "array", "contains": {}})", "schema.contains"},
        Refused{R"({"dependentRequired": {"a": ["b"]}})", "schema.dependentRequired"},
        Refused{R"({"type": "string", "format": "iban"})", "schema.format"},
        Refused{R"({"type": "string", "pattern": "a", "minLength": 1})", "schema.minLength"},
        Refused{R"({"type": "string", "pattern": "a", "format": "date"})", "schema.format"},
        Refused{R"({"type": "string", "pattern": "^\"a\"$"})", "schema.pattern"},
        Refused{R"({"type": "string", "pattern": "C:\\\\x"})", "schema.pattern"},
        Refused{R"({"type": "string", "pattern": "a\\nb"})", "schema.pattern"},
        Refused{R"({"type": "string", "pattern": "\\u0022"})", "schema.pattern"},
        Refused{R"({"type": "object", "patternProperties": {"\"": {}}})", "schema.patternProperties"},
        Refused{R"({"type": "string", "maxLength": 100000})", "schema.maxLength"},
        Refused{R"({"type": "string", "minLength": 3, "maxLength": 2})", "schema.minLength"},
        Refused{R"({"type": "number", "multipleOf": 0.1})", "schema.multipleOf"},
        Refused{R"({"type": "integer", "minimum": "1"})", "schema.minimum"},
        Refused{R"({"anyOf": [{"type": "object"}], "properties": {"a": {}}})", "schema.properties"},
        Refused{R"({"anyOf": []})", "schema.anyOf"}, Refused{R"({"allOf": [{}, {}]})", "schema.allOf"},
        Refused{R"({"type": "string", "anyOf": [{"type": "integer"}]})", "schema.type"},
        Refused{R"({"enum": []})", "schema.enum"}, Refused{R"({"type": "string", "enum": [1]})", "schema.enum"},
        Refused{R"({"enum": ["a"], "minLength": 2})", "schema.minLength"},
        Refused{R"({"type": "object", "required": ["a"], "additionalProperties": false})", "schema.required"},
        Refused{R"({"type": "object", "patternProperties": {"^a": {}}, "properties": {"b": {}}})",
                "schema.patternProperties"},
        Refused{R"({"type": "wish"})", "schema.type"}, Refused{R"({"minLength": 1, "minimum": 2})", "schema"},
        Refused{R"({"$ref": "http://elsewhere/schema"})", "schema.$ref"},
        Refused{R"({"$ref": "#/$defs/No"})", "schema.$ref"}, Refused{R"({"$ref": "#"})", "schema.$ref"},
        Refused{R"({"$ref": "#/$defs/A", "properties": {}, "$defs": {"A": {}}})", "schema.properties"}));

TEST(SchemaShape, leaves_out_what_cannot_be_enforced) {
  const char* given = R"({"type": "object", "properties": {
      "a": {"type": "string", "format": "iban", "minLength": 1, "not": {"const": ""}}, "b": {"type": "array",
      "uniqueItems": true, "items": {"type": "number", "multipleOf": 0.5}},
      "c": {"type": "string", "enum": []}, "d": {"allOf": [{}, {}]}, "e": {"anyOf": [{"type": "null"}],
      "minLength": 3}}})";
  const auto prepared = prepare_schema(Json::parse(given), "schema", SchemaDemand::kShape);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ((*prepared)["properties"]["b"], Json::parse(R"({"type": "array", "items": {"type": "number"}})"));
  EXPECT_EQ((*prepared)["properties"]["c"], Json::parse(R"({"type": "string"})"));
  EXPECT_EQ((*prepared)["properties"]["d"], Json::object());
  EXPECT_EQ((*prepared)["properties"]["e"], Json::parse(R"({"anyOf": [{"type": "null"}]})"));
}

TEST(SchemaLimits, depth_and_size_are_bounded) {
  Json deep = Json::object();
  for (int i = 0; i < 100; ++i) deep = Json{{"type", "array"}, {"items", deep}};
  EXPECT_FALSE(prepare_schema(deep, "schema", SchemaDemand::kAll));
  Json wide = Json{{"anyOf", Json::array()}};
  for (int i = 0; i < 20'000; ++i) wide["anyOf"].push_back(Json::object());
  EXPECT_FALSE(prepare_schema(wide, "schema", SchemaDemand::kAll));
  EXPECT_FALSE(prepare_schema(Json{{"enum", Json::array({std::string(300'000, 'x')})}}, "schema", SchemaDemand::kAll));
}

}  // namespace
}  // namespace gale
