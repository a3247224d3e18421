#include "native/core/md_array.h"

#include <napi.h>

#include <memory>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"
#include "native/core/md_superblock.h"

namespace meshstor {
namespace {

Napi::Value MemberToJs(Napi::Env env, const MdMember& member) {
  auto js = Napi::Object::New(env);
  js.Set("name", Js(env, member.name));
  js.Set("path", Js(env, member.path));
  js.Set("devNumber", Js(env, member.dev_number));
  SetIfPresent(js, "slot", member.slot);
  js.Set("state", JsArray(env, member.state));
  js.Set("errors", Js(env, member.errors));
  return js;
}

Napi::Value ArrayToJs(Napi::Env env, const MdArray& array) {
  auto js = Napi::Object::New(env);
  js.Set("name", Js(env, array.name));
  js.Set("path", Js(env, array.path));
  js.Set("devNumber", Js(env, array.dev_number));
  SetIfPresent(js, "uuid", array.uuid);
  js.Set("arrayState", Js(env, array.array_state));
  js.Set("level", Js(env, array.level));
  js.Set("raidDisks", Js(env, array.raid_disks));
  js.Set("degraded", Js(env, array.degraded));
  js.Set("metadataVersion", Js(env, array.metadata_version));
  js.Set("sizeBytes", Js(env, array.size_bytes));
  js.Set("syncAction", Js(env, array.sync_action));
  SetIfPresent(js, "syncDoneSectors", array.sync_done_sectors);
  SetIfPresent(js, "syncTotalSectors", array.sync_total_sectors);
  SetIfPresent(js, "syncSpeed", array.sync_speed);
  js.Set("syncMax", Js(env, array.sync_max));
  js.Set("resyncStart", Js(env, array.resync_start));
  js.Set("members", JsArray(env, array.members, MemberToJs));
  js.Set("holders", JsArray(env, array.holders));
  js.Set("mountPoints", JsArray(env, array.mount_points));
  return js;
}

Napi::Value RoleToJs(Napi::Env env, const MdSuperblock& superblock) {
  switch (superblock.role) {
    case MdRole::kSlot:
      return Js(env, superblock.slot);
    case MdRole::kSpare:
      return Js(env, "spare");
    case MdRole::kFaulty:
      return Js(env, "faulty");
    case MdRole::kJournal:
      return Js(env, "journal");
  }
  return env.Undefined();
}

Napi::Value SuperblockToJs(Napi::Env env, const std::optional<MdSuperblock>& found) {
  if (!found.has_value()) return env.Undefined();
  auto js = Napi::Object::New(env);
  js.Set("arrayUuid", Js(env, found->array_uuid));
  js.Set("deviceUuid", Js(env, found->device_uuid));
  js.Set("setName", Js(env, found->set_name));
  js.Set("events", Js(env, found->events));
  js.Set("level", Js(env, found->level));
  js.Set("raidDisks", Js(env, found->raid_disks));
  js.Set("dataOffsetBytes", Js(env, found->data_offset_bytes));
  js.Set("dataSizeBytes", Js(env, found->data_size_bytes));
  js.Set("usedSizeBytes", Js(env, found->used_size_bytes));
  js.Set("role", RoleToJs(env, *found));
  js.Set("writeMostly", Js(env, found->write_mostly));
  js.Set("hasBitmap", Js(env, found->has_bitmap));
  js.Set("bitmapOffsetBytes", Js(env, found->bitmap_offset_bytes));
  js.Set("hasBadBlockLog", Js(env, found->has_bad_block_log));
  js.Set("dirty", Js(env, found->dirty));
  js.Set("updatedAtSec", Js(env, found->updated_at_sec));
  return js;
}

/// (root?): `root` is where a copy of sysfs and procfs stands, for tests.
Napi::Value MdArrays(const Napi::CallbackInfo& info) {
  const std::string root = StringArgOr(info, 0, "root", "");
  return RunAsync<std::vector<MdArray>>(
      info.Env(), [root] { return ReadMdArrays(Sysfs(RealSyscalls(), root)); },
      [](Napi::Env env, const std::vector<MdArray>& arrays) { return JsArray(env, arrays, ArrayToJs); });
}

/// (path)
Napi::Value ReadSuperblock(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  return RunAsync<std::optional<MdSuperblock>>(
      info.Env(), [path] { return ReadMdSuperblock(RealSyscalls(), path); }, SuperblockToJs);
}

/// (array, member, word)
Napi::Value SetMemberState(const Napi::CallbackInfo& info) {
  const std::string array = StringArg(info, 0, "array");
  const std::string member = StringArg(info, 1, "member");
  const std::string word = StringArg(info, 2, "word");
  return RunAsync(info.Env(), [=] { return SetMdMemberState(Sysfs(RealSyscalls()), array, member, word); });
}

/// (array, attribute, value)
Napi::Value SetAttribute(const Napi::CallbackInfo& info) {
  const std::string array = StringArg(info, 0, "array");
  const std::string attribute = StringArg(info, 1, "attribute");
  const std::string value = StringArg(info, 2, "value");
  return RunAsync(info.Env(), [=] { return SetMdAttribute(Sysfs(RealSyscalls()), array, attribute, value); });
}

/// (array)
Napi::Value StopArray(const Napi::CallbackInfo& info) {
  const std::string array = StringArg(info, 0, "array");
  return RunAsync(info.Env(), [array] { return StopMdArray(Sysfs(RealSyscalls()), array); });
}

}  // namespace

void RegisterMdArray(Napi::Env env, Napi::Object exports) {
  exports.Set("mdArrays", Napi::Function::New(env, MdArrays, "mdArrays"));
  exports.Set("readMdSuperblock", Napi::Function::New(env, ReadSuperblock, "readMdSuperblock"));
  exports.Set("setMdMemberState", Napi::Function::New(env, SetMemberState, "setMdMemberState"));
  exports.Set("setMdAttribute", Napi::Function::New(env, SetAttribute, "setMdAttribute"));
  exports.Set("stopMdArray", Napi::Function::New(env, StopArray, "stopMdArray"));
}

}  // namespace meshstor
