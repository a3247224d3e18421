#include "native/core/configfs.h"

#include <errno.h>
#include <sys/stat.h>

#include <algorithm>

namespace meshstor {

bool IsGone(int err) { return err == ENOENT || err == ENODEV; }

Status Mkdir(const Sysfs& sysfs, const std::string& path) {
  const std::string full = sysfs.Path(path);
  const int rc = sysfs.sys().Mkdir(full.c_str(), 0755);
  const int err = errno;
  if (rc == 0 || err == EEXIST) return Ok();
  return Failed(err, "mkdir", full);
}

Status Rmdir(const Sysfs& sysfs, const std::string& path) {
  const std::string full = sysfs.Path(path);
  const int rc = sysfs.sys().Rmdir(full.c_str());
  const int err = errno;
  if (rc == 0 || IsGone(err)) return Ok();
  return Failed(err, "rmdir", full);
}

Status Link(const Sysfs& sysfs, const std::string& target, const std::string& path) {
  const std::string full = sysfs.Path(path);
  const int rc = sysfs.sys().Symlink(sysfs.Path(target).c_str(), full.c_str());
  const int err = errno;
  if (rc == 0 || err == EEXIST) return Ok();
  return Failed(err, "symlink", full);
}

Status Unlink(const Sysfs& sysfs, const std::string& path) {
  const std::string full = sysfs.Path(path);
  const int rc = sysfs.sys().Unlink(full.c_str());
  const int err = errno;
  if (rc == 0 || IsGone(err)) return Ok();
  return Failed(err, "unlink", full);
}

std::string LinkedName(const Sysfs& sysfs, const std::string& dir, const std::string& link) {
  auto target = sysfs.ReadLink(dir + "/" + link);
  if (!target.ok()) return link;
  const size_t slash = target.value().rfind('/');
  return slash == std::string::npos ? target.value() : target.value().substr(slash + 1);
}

std::vector<std::string> LinkedNames(const Sysfs& sysfs, const std::string& dir) {
  std::vector<std::string> names;
  for (const std::string& link : sysfs.ListOrEmpty(dir)) names.push_back(LinkedName(sysfs, dir, link));
  std::sort(names.begin(), names.end());
  return names;
}

Status SetAttribute(const Sysfs& sysfs, const std::string& path, const std::string& value) {
  auto now = sysfs.Read(path);
  if (now.ok() && now.value() == value) return Ok();
  return sysfs.Write(path, value);
}

}  // namespace meshstor
