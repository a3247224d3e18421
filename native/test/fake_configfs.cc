#include "native/test/fake_configfs.h"

#include <errno.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

namespace meshstor {
namespace {

namespace fs = std::filesystem;

void PutFile(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string Content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text;
  std::getline(in, text);
  return text;
}

/// What the kernel puts into a directory that mkdir made.
void Populate(const fs::path& dir) {
  const std::string parent = dir.parent_path().filename().string();
  if (parent == "subsystems") {
    PutFile(dir / "attr_allow_any_host", "0\n");
    PutFile(dir / "attr_serial", "5d8a1c0b7f3e2d91    \n");
    PutFile(dir / "attr_model", "Linux\n");
    fs::create_directory(dir / "allowed_hosts");
    fs::create_directory(dir / "namespaces");
  } else if (parent == "namespaces") {
    PutFile(dir / "device_path", "(null)\n");
    PutFile(dir / "device_uuid", "0b1cf9a5-7b9f-4a26-8f6e-1d9d36a6b111\n");
    PutFile(dir / "enable", "0\n");
  } else if (parent == "ports") {
    for (const char* name : {"addr_trtype", "addr_adrfam", "addr_traddr", "addr_trsvcid"}) PutFile(dir / name, "\n");
    fs::create_directory(dir / "subsystems");
  }
}

}  // namespace

FakeConfigfs::FakeConfigfs(std::string root) : nvmet_(std::move(root) + "/sys/kernel/config/nvmet") {
  for (const char* name : {"hosts", "ports", "subsystems"}) fs::create_directories(nvmet_ + "/" + name);
}

std::string FakeConfigfs::Below(const std::string& path) const {
  return path.compare(0, nvmet_.size() + 1, nvmet_ + "/") == 0 ? path.substr(nvmet_.size() + 1) : "";
}

void FakeConfigfs::HangOn(const std::string& call) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  to_hang_.insert(call);
}

bool FakeConfigfs::AwaitHang(const std::string& call) {
  std::unique_lock<std::recursive_mutex> lock(mutex_);
  return hanging_changed_.wait_for(lock, std::chrono::seconds(10), [&] { return hanging_.count(call) > 0; });
}

void FakeConfigfs::LetGo(const std::string& call) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  to_hang_.erase(call);
  hanging_changed_.notify_all();
}

bool FakeConfigfs::Admit(const std::string& call) {
  {
    std::unique_lock<std::recursive_mutex> lock(mutex_);
    if (to_hang_.count(call) > 0) {
      hanging_.insert(call);
      hanging_changed_.notify_all();
      hanging_changed_.wait(lock, [&] { return to_hang_.count(call) == 0; });
      hanging_.erase(call);
    }
  }
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  const auto fault = faults_.find(call);
  if (fault != faults_.end()) {
    errno = fault->second;
    return false;
  }
  if (calls_left_ == 0) {
    errno = ESHUTDOWN;
    return false;
  }
  if (calls_left_ > 0) --calls_left_;
  return true;
}

void FakeConfigfs::Changed() {
  const int err = errno;
  if (on_change_) on_change_();
  errno = err;
}

std::string FakeConfigfs::PathOf(int fd) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  return open_[fd];
}

bool FakeConfigfs::IsLinked(const std::string& target) const {
  for (const auto& entry : fs::recursive_directory_iterator(nvmet_)) {
    if (entry.is_symlink() && fs::read_symlink(entry.path()) == target) return true;
  }
  return false;
}

int FakeConfigfs::StoreError(const std::string& path) const {
  const fs::path file(path);
  const std::string name = file.filename().string();
  if ((name == "device_path" || name == "device_uuid") && Content(file.parent_path() / "enable") == "1") return EBUSY;
  const bool is_address = name.compare(0, 5, "addr_") == 0;
  if (is_address && !fs::is_empty(file.parent_path() / "subsystems")) return EACCES;
  if ((name == "attr_serial" || name == "attr_model") && IsLinked(file.parent_path())) return EINVAL;
  return 0;
}

int FakeConfigfs::RmdirError(const std::string& path) const {
  if (!fs::exists(path)) return ENOENT;
  if (IsLinked(path)) return EBUSY;
  for (const char* group : {"/namespaces", "/allowed_hosts", "/subsystems"}) {
    if (fs::exists(path + group) && !fs::is_empty(path + group)) return ENOTEMPTY;
  }
  return 0;
}

int FakeConfigfs::Mkdir(const char* path, mode_t) {
  const std::string call = "mkdir " + Below(path);
  if (!Admit(call)) return -1;
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (::mkdir(path, 0755) != 0) return -1;
  Populate(path);
  log_.push_back(call);
  Changed();
  return 0;
}

int FakeConfigfs::Rmdir(const char* path) {
  const std::string call = "rmdir " + Below(path);
  if (!Admit(call)) return -1;
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (const int err = RmdirError(path); err != 0) {
    errno = err;
    return -1;
  }
  fs::remove_all(path);
  log_.push_back(call);
  Changed();
  return 0;
}

int FakeConfigfs::Symlink(const char* target, const char* link_path) {
  const std::string call = "symlink " + Below(link_path);
  if (!Admit(call)) return -1;
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  const fs::path dir = fs::path(link_path).parent_path();
  const bool admits_any =
      dir.filename() == "allowed_hosts" && Content(dir.parent_path() / "attr_allow_any_host") == "1";
  if (!fs::exists(target) || admits_any) {
    errno = admits_any ? EINVAL : ENOENT;
    return -1;
  }
  if (::symlink(target, link_path) != 0) return -1;
  log_.push_back(call);
  Changed();
  return 0;
}

int FakeConfigfs::Unlink(const char* path) {
  const std::string call = "unlink " + Below(path);
  if (!Admit(call)) return -1;
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (::unlink(path) != 0) return -1;
  log_.push_back(call);
  Changed();
  return 0;
}

int FakeConfigfs::Open(const char* path, int flags, mode_t mode) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  const int fd = RealSyscalls().Open(path, flags, mode);
  if (fd >= 0) open_[fd] = path;
  return fd;
}

int FakeConfigfs::Close(int fd) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  open_.erase(fd);
  return RealSyscalls().Close(fd);
}

ssize_t FakeConfigfs::Write(int fd, const void* data, size_t length) {
  const std::string path = PathOf(fd);
  const std::string text(static_cast<const char*>(data), length);
  const std::string call = "write " + Below(path) + " " + text;
  if (!Admit(call)) return -1;
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (const int err = StoreError(path); err != 0) {
    errno = err;
    return -1;
  }
  PutFile(path, text + "\n");
  log_.push_back(call);
  Changed();
  return static_cast<ssize_t>(length);
}

ssize_t FakeConfigfs::Read(int fd, void* data, size_t length) { return RealSyscalls().Read(fd, data, length); }
ssize_t FakeConfigfs::Pread(int fd, void* data, size_t length, off_t offset) {
  return RealSyscalls().Pread(fd, data, length, offset);
}
ssize_t FakeConfigfs::Pwrite(int fd, const void* data, size_t length, off_t offset) {
  return RealSyscalls().Pwrite(fd, data, length, offset);
}
int FakeConfigfs::Fsync(int fd) { return RealSyscalls().Fsync(fd); }
int FakeConfigfs::Flock(int fd, int operation) { return RealSyscalls().Flock(fd, operation); }
int FakeConfigfs::Ioctl(int fd, unsigned long request, void* argument) {
  return RealSyscalls().Ioctl(fd, request, argument);
}
int FakeConfigfs::Fstat(int fd, struct stat* out) { return RealSyscalls().Fstat(fd, out); }
int FakeConfigfs::Stat(const char* path, struct stat* out) { return RealSyscalls().Stat(path, out); }
int FakeConfigfs::Lstat(const char* path, struct stat* out) { return RealSyscalls().Lstat(path, out); }
int FakeConfigfs::Statfs(const char* path, struct statfs* out) { return RealSyscalls().Statfs(path, out); }
int FakeConfigfs::Mount(const char*, const char*, const char*, unsigned long, const void*) {
  errno = ENOSYS;
  return -1;
}
int FakeConfigfs::Umount2(const char*, int) {
  errno = ENOSYS;
  return -1;
}
ssize_t FakeConfigfs::Readlink(const char* path, char* buffer, size_t size) {
  return RealSyscalls().Readlink(path, buffer, size);
}
int FakeConfigfs::Mknod(const char*, mode_t, dev_t) {
  errno = ENOSYS;
  return -1;
}
int FakeConfigfs::Poll(struct pollfd*, nfds_t, int) { return 0; }
int FakeConfigfs::Socket(int, int, int) {
  errno = ENOSYS;
  return -1;
}
int FakeConfigfs::Bind(int, const struct sockaddr*, socklen_t) {
  errno = ENOSYS;
  return -1;
}
ssize_t FakeConfigfs::Recv(int, void*, size_t, int) {
  errno = ENOSYS;
  return -1;
}

}  // namespace meshstor
