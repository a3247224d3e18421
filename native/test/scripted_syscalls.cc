#include "native/test/scripted_syscalls.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <utility>

namespace meshstor {
namespace {

std::string Hex(unsigned long value) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%lx", value);
  return text;
}

}  // namespace

ScriptedSyscalls::Step& ScriptedSyscalls::Step::Return(long value) {
  value_ = value;
  err_ = 0;
  return *this;
}

ScriptedSyscalls::Step& ScriptedSyscalls::Step::Fail(int err) {
  value_ = -1;
  err_ = err;
  return *this;
}

ScriptedSyscalls::Step& ScriptedSyscalls::Step::With(std::function<void(void*, size_t)> action) {
  action_ = std::move(action);
  return *this;
}

ScriptedSyscalls::~ScriptedSyscalls() {
  for (const Step& step : script_) ADD_FAILURE() << "never called: " << step.name_ << " " << step.detail_;
  for (const int fd : open_) ADD_FAILURE() << "never closed: descriptor " << fd;
}

ScriptedSyscalls::Step& ScriptedSyscalls::Expect(std::string name, std::string detail) {
  script_.emplace_back();
  script_.back().name_ = std::move(name);
  script_.back().detail_ = std::move(detail);
  return script_.back();
}

long ScriptedSyscalls::Play(const std::string& name, const std::string& detail, void* data, size_t length) {
  if (script_.empty()) {
    ADD_FAILURE() << "called after the end of the script: " << name << " " << detail;
    errno = ENOSYS;
    return -1;
  }
  const Step step = std::move(script_.front());
  script_.pop_front();
  if (step.name_ != name || (!step.detail_.empty() && step.detail_ != detail)) {
    ADD_FAILURE() << "expected: " << step.name_ << " " << step.detail_ << ", called: " << name << " " << detail;
    errno = ENOSYS;
    return -1;
  }
  if (step.action_) step.action_(data, length);
  if (step.value_ < 0) errno = step.err_;
  return step.value_;
}

int ScriptedSyscalls::Open(const char* path, int, mode_t) {
  const int fd = static_cast<int>(Play("open", path, nullptr, 0));
  if (fd >= 0) open_.insert(fd);
  return fd;
}

int ScriptedSyscalls::Close(int fd) {
  const auto at = open_.find(fd);
  if (at == open_.end()) {
    ADD_FAILURE() << "closed but not open: descriptor " << fd;
    return 0;
  }
  open_.erase(at);
  return 0;
}

ssize_t ScriptedSyscalls::Read(int, void* data, size_t length) { return Play("read", "", data, length); }

ssize_t ScriptedSyscalls::Write(int, const void* data, size_t length) {
  return Play("write", "", const_cast<void*>(data), length);
}

ssize_t ScriptedSyscalls::Pread(int, void* data, size_t length, off_t offset) {
  return Play("pread", std::to_string(offset), data, length);
}

ssize_t ScriptedSyscalls::Pwrite(int, const void* data, size_t length, off_t offset) {
  return Play("pwrite", std::to_string(offset), const_cast<void*>(data), length);
}

int ScriptedSyscalls::Fsync(int) { return static_cast<int>(Play("fsync", "", nullptr, 0)); }

int ScriptedSyscalls::Flock(int, int operation) {
  return static_cast<int>(Play("flock", std::to_string(operation), nullptr, 0));
}

int ScriptedSyscalls::Ioctl(int, unsigned long request, void* argument) {
  return static_cast<int>(Play("ioctl", Hex(request), argument, 0));
}

int ScriptedSyscalls::Fstat(int, struct stat* out) { return static_cast<int>(Play("fstat", "", out, sizeof(*out))); }

int ScriptedSyscalls::Stat(const char* path, struct stat* out) {
  return static_cast<int>(Play("stat", path, out, sizeof(*out)));
}

int ScriptedSyscalls::Lstat(const char* path, struct stat* out) {
  return static_cast<int>(Play("lstat", path, out, sizeof(*out)));
}

int ScriptedSyscalls::Statfs(const char* path, struct statfs* out) {
  return static_cast<int>(Play("statfs", path, out, sizeof(*out)));
}

int ScriptedSyscalls::Mount(const char*, const char* target, const char*, unsigned long, const void* data) {
  return static_cast<int>(Play("mount", target, const_cast<void*>(data), 0));
}

int ScriptedSyscalls::Umount2(const char* target, int) { return static_cast<int>(Play("umount2", target, nullptr, 0)); }

int ScriptedSyscalls::Mkdir(const char* path, mode_t) { return static_cast<int>(Play("mkdir", path, nullptr, 0)); }

int ScriptedSyscalls::Rmdir(const char* path) { return static_cast<int>(Play("rmdir", path, nullptr, 0)); }

int ScriptedSyscalls::Symlink(const char* target, const char* link_path) {
  return static_cast<int>(Play("symlink", link_path, const_cast<char*>(target), 0));
}

ssize_t ScriptedSyscalls::Readlink(const char* path, char* buffer, size_t size) {
  return Play("readlink", path, buffer, size);
}

int ScriptedSyscalls::Unlink(const char* path) { return static_cast<int>(Play("unlink", path, nullptr, 0)); }

int ScriptedSyscalls::Mknod(const char* path, mode_t, dev_t) {
  return static_cast<int>(Play("mknod", path, nullptr, 0));
}

int ScriptedSyscalls::Poll(struct pollfd* fds, nfds_t count, int) {
  return static_cast<int>(Play("poll", "", fds, count));
}

int ScriptedSyscalls::Socket(int, int, int) {
  const int fd = static_cast<int>(Play("socket", "", nullptr, 0));
  if (fd >= 0) open_.insert(fd);
  return fd;
}

int ScriptedSyscalls::Bind(int, const struct sockaddr* address, socklen_t length) {
  return static_cast<int>(Play("bind", "", const_cast<struct sockaddr*>(address), length));
}

ssize_t ScriptedSyscalls::Recv(int, void* data, size_t length, int) { return Play("recv", "", data, length); }

}  // namespace meshstor
