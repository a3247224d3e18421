#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

/// Reads and writes attributes of sysfs, procfs and configfs below a root. The root is empty on a real machine and a
/// directory that holds a copy of such a tree in tests. Every path given starts with `/` (`/sys/block`). Nothing here
/// needs privileges beyond those of the file; reads do not block, writes may (nvmet waits for I/O in flight).
class Sysfs {
 public:
  explicit Sysfs(Syscalls& sys, std::string root = {}) : sys_(&sys), root_(std::move(root)) {}

  Syscalls& sys() const { return *sys_; }
  const std::string& root() const { return root_; }
  /// The path below the root, as it is opened.
  std::string Path(const std::string& path) const { return root_ + path; }

  /// Whole file without white space at its end; at most 1 MiB. ENOENT, ENODEV when the object went away meanwhile.
  Result<std::string> Read(const std::string& path) const;
  /// As Read, with `fallback` in place of any error.
  std::string ReadOr(const std::string& path, const std::string& fallback) const;
  /// An unsigned decimal number and nothing else; EBADMSG when the file holds something else.
  Result<uint64_t> ReadUint(const std::string& path) const;
  /// Names in a directory without `.` and `..`, sorted bytewise. ENOENT when there is none.
  Result<std::vector<std::string>> List(const std::string& path) const;
  /// As List, empty on any error.
  std::vector<std::string> ListOrEmpty(const std::string& path) const;
  /// True when something is there (a dangling symlink counts).
  bool Exists(const std::string& path) const;
  /// Target of a symbolic link. EINVAL when it is none.
  Result<std::string> ReadLink(const std::string& path) const;
  /// Writes the text in one write(2) to an existing attribute. The errno is that of the kernel's store function.
  Status Write(const std::string& path, const std::string& text) const;

 private:
  Syscalls* sys_;
  std::string root_;
};

/// Text without white space (space, tab, line ends, NUL) at both ends.
std::string Trim(const std::string& text);

/// Words between runs of white space.
std::vector<std::string> SplitWords(const std::string& text);

/// Lines without their ends; a last line without end counts, an empty rest does not.
std::vector<std::string> SplitLines(const std::string& text);

/// An unsigned decimal number that is the whole text and fits; EBADMSG otherwise, `what` goes into the message.
Result<uint64_t> ParseUint(const std::string& text, const std::string& what);

}  // namespace meshstor
