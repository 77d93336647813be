#include "chat/template_values_internal.h"

#include <jinja/runtime.h>

#include <algorithm>
#include <limits>

#include "chat/python_text_internal.h"

namespace gale {
namespace {

using jinja::func_args;
using jinja::mk_val;

jinja::value to_json(const func_args& args) {
  JsonStyle style;
  const auto option = [&](const char* name) { return args.get_kwarg(name, mk_val<jinja::value_undefined>()); };
  style.ensure_ascii = option("ensure_ascii")->as_bool();
  style.sort_keys = option("sort_keys")->as_bool();
  if (const auto indent = option("indent"); jinja::is_val<jinja::value_int>(indent)) {
    style.indent = static_cast<int>(std::min<int64_t>(indent->as_int(), 100));
    style.item_separator = ",";
  }
  if (const auto separators = option("separators"); jinja::is_val<jinja::value_array>(separators)) {
    const auto& both = separators->as_array();
    if (both.size() != 2) throw jinja::raised_exception("tojson: separators must be two strings");
    style.item_separator = both[0]->as_string().str();
    style.key_separator = both[1]->as_string().str();
  }
  return mk_val<jinja::value_string>(python_json(args.get_pos(0), style));
}

// An engine's type with our tojson among its methods and filters.
template <class Base>
struct Ours : Base {
  using Base::Base;
  const jinja::func_builtins& get_builtins() const override {
    static const jinja::func_builtins builtins = [this] {
      jinja::func_builtins ours = Base::get_builtins();
      ours["tojson"] = to_json;
      return ours;
    }();
    return builtins;
  }
};

struct Array : Ours<jinja::value_array_t> {
  jinja::string as_string() const override;
};

struct Object : Ours<jinja::value_object_t> {
  jinja::string as_string() const override;
};

// Also integers beyond 64 bits with sign, which keep their digits.
struct Float : Ours<jinja::value_float_t> {
  Float(double value, std::string text) : Ours(value), text_(std::move(text)) {}
  jinja::string as_string() const override { return jinja::string(text_); }

 private:
  std::string text_;
};

// A value that the engine owns, for functions that take one.
jinja::value alias(const jinja::value_t* value) {
  return {jinja::value(), const_cast<jinja::value_t*>(value)};
}

jinja::string Array::as_string() const { return jinja::string(python_repr(alias(this))); }
jinja::string Object::as_string() const { return jinja::string(python_repr(alias(this))); }

}  // namespace

jinja::value template_text(const std::string& text) {
  auto value = mk_val<jinja::value_string>(text);
  value->mark_input();
  return value;
}

jinja::value template_value(const Json& json) {
  switch (json.type()) {
    case Json::value_t::string: return mk_val<jinja::value_string>(json.get_ref<const std::string&>());
    case Json::value_t::boolean: return mk_val<jinja::value_bool>(json.get<bool>());
    case Json::value_t::number_integer: return mk_val<jinja::value_int>(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return mk_val<jinja::value_int>(json.get<int64_t>());
      return std::make_shared<Float>(json.get<double>(), std::to_string(json.get<uint64_t>()));
    case Json::value_t::number_float:
      return std::make_shared<Float>(json.get<double>(), python_float(json.get<double>()));
    case Json::value_t::array: {
      auto array = std::make_shared<Array>();
      for (const Json& item : json) array->push_back(template_value(item));
      return array;
    }
    case Json::value_t::object: {
      auto object = std::make_shared<Object>();
      for (const auto& [key, value] : json.items())
        object->insert(mk_val<jinja::value_string>(key), template_value(value));
      return object;
    }
    case Json::value_t::null:
    case Json::value_t::binary:
    case Json::value_t::discarded: break;
  }
  return mk_val<jinja::value_none>();
}

jinja::value printed_value(const jinja::value& value) {
  if (jinja::is_val<jinja::value_string>(value) || value->is_undefined()) return value;
  return mk_val<jinja::value_string>(value->is_none() ? "None" : python_repr(value));
}

}  // namespace gale
