#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// Arguments in, plain data out; main thread only. The TypeScript facade validates for people; what is checked here is
// only what would crash or be silently changed. A wrong type throws TypeError `Expected "<name>" to be …`.

namespace meshstor {

[[noreturn]] inline void ThrowExpected(Napi::Env env, const std::string& name, const char* expected) {
  throw Napi::TypeError::New(env, "Expected \"" + name + "\" to be " + expected);
}

inline std::string ToStringArg(const Napi::Value& value, const std::string& name) {
  if (!value.IsString()) ThrowExpected(value.Env(), name, "a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) ThrowExpected(value.Env(), name, "a string without NUL");
  return text;
}

inline uint64_t ToUintArg(const Napi::Value& value, const std::string& name) {
  constexpr double kMaxSafeInteger = 9007199254740991.0;
  if (!value.IsNumber()) ThrowExpected(value.Env(), name, "a non-negative safe integer");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= kMaxSafeInteger) || std::floor(number) != number) {
    ThrowExpected(value.Env(), name, "a non-negative safe integer");
  }
  return static_cast<uint64_t>(number);
}

inline bool ToBoolArg(const Napi::Value& value, const std::string& name) {
  if (!value.IsBoolean()) ThrowExpected(value.Env(), name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

inline Napi::Object ToObjectArg(const Napi::Value& value, const std::string& name) {
  if (!value.IsObject()) ThrowExpected(value.Env(), name, "an object");
  return value.As<Napi::Object>();
}

inline std::vector<std::string> ToStringsArg(const Napi::Value& value, const std::string& name) {
  if (!value.IsArray()) ThrowExpected(value.Env(), name, "an array of strings");
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    out.push_back(ToStringArg(array.Get(i), name + "[" + std::to_string(i) + "]"));
  }
  return out;
}

inline std::vector<uint8_t> ToBytesArg(const Napi::Value& value, const std::string& name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    ThrowExpected(value.Env(), name, "a Uint8Array");
  }
  const auto bytes = value.As<Napi::Uint8Array>();
  return std::vector<uint8_t>(bytes.Data(), bytes.Data() + bytes.ElementLength());
}

// By position.
inline std::string StringArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return ToStringArg(info[index], name);
}
inline uint64_t UintArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return ToUintArg(info[index], name);
}
inline bool BoolArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return ToBoolArg(info[index], name);
}
inline Napi::Object ObjectArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return ToObjectArg(info[index], name);
}
inline std::vector<std::string> StringsArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return ToStringsArg(info[index], name);
}
inline std::vector<uint8_t> BytesArg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return ToBytesArg(info[index], name);
}
/// `undefined` and a missing argument give the fallback.
inline std::string StringArgOr(const Napi::CallbackInfo& info, size_t index, const char* name, std::string fallback) {
  return info[index].IsUndefined() ? std::move(fallback) : ToStringArg(info[index], name);
}

// Fields of an object argument.
inline std::string StringField(const Napi::Object& object, const char* name) {
  return ToStringArg(object.Get(name), name);
}
inline uint64_t UintField(const Napi::Object& object, const char* name) { return ToUintArg(object.Get(name), name); }
inline bool BoolField(const Napi::Object& object, const char* name) { return ToBoolArg(object.Get(name), name); }

// Results. An absent optional is a property that is not set.
inline Napi::Value Js(Napi::Env env, const std::string& text) { return Napi::String::New(env, text); }
inline Napi::Value Js(Napi::Env env, const char* text) { return Napi::String::New(env, text); }
inline Napi::Value Js(Napi::Env env, bool value) { return Napi::Boolean::New(env, value); }
inline Napi::Value Js(Napi::Env env, uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }
inline Napi::Value Js(Napi::Env env, uint32_t value) { return Napi::Number::New(env, value); }
inline Napi::Value Js(Napi::Env env, int value) { return Napi::Number::New(env, value); }
inline Napi::Value Js(Napi::Env, Napi::Object object) { return object; }

/// Array of what `Js` or the given function makes of each item.
template <typename T, typename F>
Napi::Value JsArray(Napi::Env env, const std::vector<T>& items, F to_js) {
  auto array = Napi::Array::New(env, items.size());
  for (size_t i = 0; i < items.size(); ++i) array.Set(static_cast<uint32_t>(i), to_js(env, items[i]));
  return array;
}
inline Napi::Value JsArray(Napi::Env env, const std::vector<std::string>& items) {
  return JsArray(env, items, [](Napi::Env e, const std::string& item) { return Js(e, item); });
}
template <typename T>
void SetIfPresent(Napi::Object& object, const char* name, const std::optional<T>& value) {
  if (value.has_value()) object.Set(name, Js(object.Env(), *value));
}

}  // namespace meshstor
