#include "native/core/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

namespace meshstor {
namespace {

constexpr size_t kMaxAttributeBytes = 1 << 20;
constexpr char kWhiteSpace[] = " \t\r\n\v\f";

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

Result<std::string> Sysfs::Read(const std::string& path) const {
  const std::string full = Path(path);
  auto fd = OpenFile(*sys_, full, O_RDONLY);
  if (!fd.ok()) return fd.error();
  auto text = ReadToEnd(*sys_, fd.value().get(), kMaxAttributeBytes, full);
  if (!text.ok()) return text.error();
  std::string& value = text.value();
  while (!value.empty() && (value.back() == '\0' || std::string(kWhiteSpace).find(value.back()) != std::string::npos)) {
    value.pop_back();
  }
  return std::move(value);
}

std::string Sysfs::ReadOr(const std::string& path, const std::string& fallback) const {
  auto text = Read(path);
  return text.ok() ? std::move(text).value() : fallback;
}

Result<uint64_t> Sysfs::ReadUint(const std::string& path) const {
  auto text = Read(path);
  if (!text.ok()) return text.error();
  return ParseUint(text.value(), Path(path));
}

Result<std::vector<std::string>> Sysfs::List(const std::string& path) const {
  const std::string full = Path(path);
  errno = 0;
  std::unique_ptr<DIR, DirCloser> dir(::opendir(full.c_str()));
  const int open_err = errno;
  if (!dir) return Failed(open_err, "opendir", full);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const struct dirent* entry = ::readdir(dir.get());
    const int err = errno;
    if (entry == nullptr && err != 0) return Failed(err, "readdir", full);
    if (entry == nullptr) break;
    std::string name(entry->d_name);
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Sysfs::ListOrEmpty(const std::string& path) const {
  auto names = List(path);
  return names.ok() ? std::move(names).value() : std::vector<std::string>{};
}

bool Sysfs::Exists(const std::string& path) const {
  struct stat info = {};
  return sys_->Lstat(Path(path).c_str(), &info) == 0;
}

Result<std::string> Sysfs::ReadLink(const std::string& path) const {
  const std::string full = Path(path);
  std::string buffer(PATH_MAX, '\0');
  const ssize_t count = sys_->Readlink(full.c_str(), buffer.data(), buffer.size());
  const int err = errno;
  if (count < 0) return Failed(err, "readlink", full);
  if (static_cast<size_t>(count) == buffer.size()) return Failed(ENAMETOOLONG, "readlink", full);
  buffer.resize(static_cast<size_t>(count));
  return buffer;
}

Status Sysfs::Write(const std::string& path, const std::string& text) const {
  const std::string full = Path(path);
  auto fd = OpenFile(*sys_, full, O_WRONLY);
  if (!fd.ok()) return fd.error();
  return WriteOnce(*sys_, fd.value().get(), text, full);
}

std::string Trim(const std::string& text) {
  const std::string blanks = std::string(kWhiteSpace) + '\0';
  const size_t first = text.find_first_not_of(blanks);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string> SplitWords(const std::string& text) {
  std::vector<std::string> words;
  size_t at = text.find_first_not_of(kWhiteSpace);
  while (at != std::string::npos) {
    const size_t end = text.find_first_of(kWhiteSpace, at);
    words.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    at = end == std::string::npos ? end : text.find_first_not_of(kWhiteSpace, end);
  }
  return words;
}

std::vector<std::string> SplitLines(const std::string& text) {
  std::vector<std::string> lines;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

Result<uint64_t> ParseUint(const std::string& text, const std::string& what) {
  uint64_t value = 0;
  const bool digits_only = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  bool fits = digits_only;
  for (size_t i = 0; fits && i < text.size(); ++i) {
    const auto digit = static_cast<uint64_t>(text[i] - '0');
    fits = value <= (UINT64_MAX - digit) / 10;
    value = value * 10 + digit;
  }
  if (!fits) return Failed(EBADMSG, "parse", what, "expected an unsigned number, got \"" + text.substr(0, 64) + "\"");
  return value;
}

}  // namespace meshstor
