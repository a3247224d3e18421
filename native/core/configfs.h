#pragma once

#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

// Objects of configfs are directories, relations are symbolic links (fs/configfs/dir.c, symlink.c). Each call here
// makes sure of something: what is so already is success. Paths start with `/` and lie below the root of `sysfs`.

namespace meshstor {

/// ENOENT or ENODEV: the object went away.
bool IsGone(int err);

/// Creates an object.
Status Mkdir(const Sysfs& sysfs, const std::string& path);

/// Removes an object. EBUSY while something links to it, ENOTEMPTY while it has children. Blocks while one of its
/// attributes is being written, and as long as the subsystem's release does.
Status Rmdir(const Sysfs& sysfs, const std::string& path);

/// Makes a link. configfs resolves `target` when the link is made, so the link holds the full path.
Status Link(const Sysfs& sysfs, const std::string& target, const std::string& path);

/// Removes a link.
Status Unlink(const Sysfs& sysfs, const std::string& path);

/// What a link in `dir` leads to: the last part of its target. A link need not bear the name of what it links.
std::string LinkedName(const Sysfs& sysfs, const std::string& dir, const std::string& link);

/// LinkedName of every link in `dir`, sorted; empty when there is no such directory.
std::vector<std::string> LinkedNames(const Sysfs& sysfs, const std::string& dir);

/// Writes only what differs: some attributes refuse any write once they are in use.
Status SetAttribute(const Sysfs& sysfs, const std::string& path, const std::string& value);

}  // namespace meshstor
