#include "native/core/gpt.h"

#include <napi.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

/// Last argument of every function here: the sector size to assume for a regular file. Devices have their own.
GptOptions OptionsArg(const Napi::CallbackInfo& info, size_t index) {
  GptOptions options;
  if (info[index].IsUndefined()) return options;
  const uint64_t size = UintArg(info, index, "imageSectorSize");
  if (size != 512 && size != 4096) ThrowExpected(info.Env(), "imageSectorSize", "512 or 4096");
  options.image_sector_size = static_cast<uint32_t>(size);
  return options;
}

Guid ToGuid(const Napi::Value& value, const char* name) {
  const auto guid = ParseGuid(ToStringArg(value, name));
  if (!guid.has_value()) ThrowExpected(value.Env(), name, "a GUID");
  return *guid;
}

std::string UpperGuid(const Guid& guid) {
  std::string text = FormatGuid(guid);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

Napi::Value TableToJs(Napi::Env env, const GptImage& image) {
  const uint64_t sector = image.geometry.sector_size;
  const GptCopy* current = image.Current();
  auto out = Napi::Object::New(env);
  out.Set("state", Js(env, StateName(image.state)));
  out.Set("sectorSize", Js(env, sector));
  out.Set("deviceSizeBytes", Js(env, image.geometry.size_bytes));
  out.Set("diskGuid", Js(env, current == nullptr ? std::string() : FormatGuid(current->header.disk_guid)));
  const auto entry_to_js = [sector](Napi::Env e, const GptEntry& entry) {
    auto part = Napi::Object::New(e);
    part.Set("number", Js(e, entry.number));
    part.Set("typeGuid", Js(e, UpperGuid(entry.type)));
    part.Set("partitionGuid", Js(e, FormatGuid(entry.unique)));
    part.Set("name", Js(e, entry.name));
    part.Set("startBytes", Js(e, entry.first_lba * sector));
    part.Set("sizeBytes", Js(e, (entry.last_lba - entry.first_lba + 1) * sector));
    return part;
  };
  out.Set("partitions", JsArray(env, current == nullptr ? std::vector<GptEntry>{} : current->entries, entry_to_js));
  out.Set("freeExtents", JsArray(env, FreeRanges(image), [sector](Napi::Env e, const LbaRange& range) {
            auto extent = Napi::Object::New(e);
            extent.Set("startBytes", Js(e, range.first * sector));
            extent.Set("sizeBytes", Js(e, (range.last - range.first + 1) * sector));
            return extent;
          }));
  out.Set("problems", JsArray(env, image.problems, [](Napi::Env e, const GptProblem& problem) {
            auto item = Napi::Object::New(e);
            item.Set("copy", Js(e, CopyName(problem.copy)));
            item.Set("field", Js(e, problem.field));
            item.Set("message", Js(e, problem.message));
            return item;
          }));
  out.Set("differingPartitionGuids",
          JsArray(env, image.differing, [](Napi::Env e, const Guid& guid) { return Js(e, FormatGuid(guid)); }));
  return out;
}

/// readGpt(path: string, imageSectorSize?: number)
Napi::Value ReadGptJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const GptOptions options = OptionsArg(info, 1);
  return RunAsync<GptImage>(
      info.Env(), [=] { return ReadGpt(RealSyscalls(), path, options); }, TableToJs);
}

/// initializeGpt(path: string, diskGuid: string, imageSectorSize?: number)
Napi::Value InitializeGptJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const Guid guid = ToGuid(info[1], "diskGuid");
  const GptOptions options = OptionsArg(info, 2);
  return RunAsync(info.Env(), [=] { return InitializeGpt(RealSyscalls(), path, guid, options); });
}

/// addGptPartition(path: string, partition: NewGptPartition, imageSectorSize?: number)
Napi::Value AddGptPartitionJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const Napi::Object from = ObjectArg(info, 1, "partition");
  NewPartition wanted;
  wanted.type = ToGuid(from.Get("typeGuid"), "typeGuid");
  wanted.unique = ToGuid(from.Get("partitionGuid"), "partitionGuid");
  wanted.name = StringField(from, "name");
  wanted.start_bytes = UintField(from, "startBytes");
  wanted.size_bytes = UintField(from, "sizeBytes");
  const GptOptions options = OptionsArg(info, 2);
  return RunAsync<std::string>(
      info.Env(), [=] { return AddGptPartition(RealSyscalls(), path, wanted, options); },
      [](Napi::Env env, const std::string& node) { return Js(env, node); });
}

/// removeGptPartition(path: string, partitionGuid: string, imageSectorSize?: number)
Napi::Value RemoveGptPartitionJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const Guid guid = ToGuid(info[1], "partitionGuid");
  const GptOptions options = OptionsArg(info, 2);
  return RunAsync(info.Env(), [=] { return RemoveGptPartition(RealSyscalls(), path, guid, options); });
}

/// resizeGptPartition(path: string, partitionGuid: string, sizeBytes: number, imageSectorSize?: number)
Napi::Value ResizeGptPartitionJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const Guid guid = ToGuid(info[1], "partitionGuid");
  const uint64_t size = UintArg(info, 2, "sizeBytes");
  const GptOptions options = OptionsArg(info, 3);
  return RunAsync(info.Env(), [=] { return ResizeGptPartition(RealSyscalls(), path, guid, size, options); });
}

/// repairGpt(path: string, imageSectorSize?: number)
Napi::Value RepairGptJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const GptOptions options = OptionsArg(info, 1);
  return RunAsync(info.Env(), [=] { return RepairGpt(RealSyscalls(), path, options); });
}

}  // namespace

void RegisterGpt(Napi::Env env, Napi::Object exports) {
  exports.Set("readGpt", Napi::Function::New(env, ReadGptJs, "readGpt"));
  exports.Set("initializeGpt", Napi::Function::New(env, InitializeGptJs, "initializeGpt"));
  exports.Set("addGptPartition", Napi::Function::New(env, AddGptPartitionJs, "addGptPartition"));
  exports.Set("removeGptPartition", Napi::Function::New(env, RemoveGptPartitionJs, "removeGptPartition"));
  exports.Set("resizeGptPartition", Napi::Function::New(env, ResizeGptPartitionJs, "resizeGptPartition"));
  exports.Set("repairGpt", Napi::Function::New(env, RepairGptJs, "repairGpt"));
}

}  // namespace meshstor
