#include "native/core/uevent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

namespace meshstor {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kBatchTime = std::chrono::milliseconds(20);
constexpr int kReceiveBufferBytes = 4 << 20;
constexpr unsigned kKernelGroup = 1;
/// The kernel's limit is 2 KiB of variables behind the first line.
constexpr size_t kMaxUeventBytes = 8192;
constexpr char kMdstat[] = "/proc/mdstat";
/// `sync_completed` is told when a recovery that is held back by `sync_max` stands there.
constexpr const char* kArrayFiles[] = {"array_state", "sync_action", "sync_completed", "degraded"};

bool StartsWith(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

/// `md127` of `/sys/block/md127/md/…`.
std::string ArrayOf(const std::string& path) {
  constexpr size_t kNameAt = sizeof("/sys/block/") - 1;
  return path.substr(kNameAt, path.find('/', kNameAt) - kNameAt);
}

KernelEvent MdEvent(std::string device) { return KernelEvent{KernelEvent::Source::kMd, "md", std::move(device)}; }

/// Reads a file from its start to its end: that is what arms the next poll of it. Nothing when it has gone.
std::optional<std::string> Drain(int fd) {
  std::string content;
  char chunk[4096];
  if (::lseek(fd, 0, SEEK_SET) < 0) return std::nullopt;
  for (;;) {
    const ssize_t count = ::read(fd, chunk, sizeof(chunk));
    if (count == 0) return content;
    if (count < 0 && errno != EINTR) return std::nullopt;
    if (count > 0) content.append(chunk, static_cast<size_t>(count));
  }
}

bool IsArrayState(const std::string& path) {
  const std::string ending = "/array_state";
  return path.size() > ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

}  // namespace

std::optional<KernelEvent> ParseUevent(const char* message, size_t length) {
  KernelEvent event;
  std::string subsystem;
  std::string name;
  bool first = true;
  for (size_t at = 0; at < length;) {
    const std::string field(message + at, ::strnlen(message + at, length - at));
    at += field.size() + 1;
    if (first) {
      // `libudev` in this place is a message of udevd's, not of the kernel's.
      const size_t sign = field.find('@');
      if (sign == std::string::npos) return std::nullopt;
      event.action = field.substr(0, sign);
      event.device = field.substr(field.rfind('/') + 1);
      first = false;
    } else if (StartsWith(field, "SUBSYSTEM=")) {
      subsystem = field.substr(sizeof("SUBSYSTEM=") - 1);
    }
  }
  if (subsystem != "block" && subsystem != "nvme") return std::nullopt;
  return event;
}

std::string FoldArrayState(const std::string& text) {
  std::string state = Trim(text);
  for (const char* running : {"clean", "active", "active-idle", "write-pending"}) {
    if (state == running) return "running";
  }
  return state;
}

void AddEvent(std::vector<KernelEvent>* batch, KernelEvent event) {
  const bool known = std::any_of(batch->begin(), batch->end(), [&event](const KernelEvent& other) {
    return other.source == event.source && other.action == event.action && other.device == event.device;
  });
  if (!known) batch->push_back(std::move(event));
}

Result<std::unique_ptr<KernelWatcher>> KernelWatcher::Start(const Sysfs& sysfs, Callback callback) {
  std::unique_ptr<KernelWatcher> watcher(new KernelWatcher(sysfs, std::move(callback)));
  auto opened = watcher->OpenSources();
  if (!opened.ok()) return opened.error();
  // The thread has no business with the process's signals; it inherits the mask.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  watcher->thread_ = std::thread([raw = watcher.get()] { raw->Run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return watcher;
}

Status KernelWatcher::OpenSources() {
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int event_err = errno;
  if (event < 0) return Failed(event_err, "eventfd", {});
  stop_event_ = UniqueFd(RealSyscalls(), event);
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  const int socket_err = errno;
  if (fd < 0) return Failed(socket_err, "socket", "NETLINK_KOBJECT_UEVENT");
  socket_ = UniqueFd(RealSyscalls(), fd);
  // Best effort: with the default size more storms end in "look at everything again", nothing else.
  const int size = kReceiveBufferBytes;
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
    static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)));
  }
  struct sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  const int bound = ::bind(fd, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address));
  const int bind_err = errno;
  if (bound != 0) return Failed(bind_err, "bind", "NETLINK_KOBJECT_UEVENT");
  RefreshMdFiles();
  return Ok();
}

void KernelWatcher::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  static_cast<void>(!::write(stop_event_.get(), &one, sizeof(one)));
  thread_.join();
}

bool KernelWatcher::WatchFile(const std::string& path) {
  if (md_files_.count(path) != 0) return true;
  auto fd = OpenFile(sysfs_.sys(), sysfs_.Path(path), O_RDONLY | O_NONBLOCK);
  if (!fd.ok()) return false;
  auto content = Drain(fd.value().get());
  if (!content.has_value()) return false;
  md_files_.emplace(path, MdFile{std::move(fd).value(), *std::move(content)});
  return true;
}

void KernelWatcher::RefreshMdFiles() {
  if (!mdstat_.valid()) {
    auto fd = OpenFile(sysfs_.sys(), sysfs_.Path(kMdstat), O_RDONLY | O_NONBLOCK);
    if (fd.ok() && Drain(fd.value().get()).has_value()) mdstat_ = std::move(fd).value();
  }
  std::set<std::string> present;
  for (const std::string& name : sysfs_.ListOrEmpty("/sys/block")) {
    if (!StartsWith(name, "md")) continue;
    const std::string md = "/sys/block/" + name + "/md/";
    for (const std::string& entry : sysfs_.ListOrEmpty(md)) {
      const bool array_file = std::find(std::begin(kArrayFiles), std::end(kArrayFiles), entry) != std::end(kArrayFiles);
      const std::string path = StartsWith(entry, "dev-") ? md + entry + "/state" : md + entry;
      if ((array_file || StartsWith(entry, "dev-")) && WatchFile(path)) present.insert(path);
    }
  }
  for (auto at = md_files_.begin(); at != md_files_.end();) {
    at = present.count(at->first) != 0 ? std::next(at) : md_files_.erase(at);
  }
}

void KernelWatcher::ReadUevents(std::vector<KernelEvent>* batch) {
  bool md_changed = false;
  char message[kMaxUeventBytes];
  for (;;) {
    struct sockaddr_nl from = {};
    socklen_t from_length = sizeof(from);
    const ssize_t count =
        ::recvfrom(socket_.get(), message, sizeof(message), 0, reinterpret_cast<struct sockaddr*>(&from), &from_length);
    const int err = errno;
    if (count < 0 && err == EINTR) continue;
    if (count < 0 && err == ENOBUFS) {
      // Events were lost: what happened is unknown, so everything has to be looked at.
      AddEvent(batch, KernelEvent{KernelEvent::Source::kUevent, "change", ""});
      md_changed = true;
      continue;
    }
    if (count < 0) break;
    if (from.nl_pid != 0) continue;  // a process, not the kernel
    auto event = ParseUevent(message, static_cast<size_t>(count));
    if (!event.has_value()) continue;
    md_changed = md_changed || StartsWith(event->device, "md");
    AddEvent(batch, *std::move(event));
  }
  if (md_changed) RefreshMdFiles();
}

void KernelWatcher::ReadMdstat(std::vector<KernelEvent>* batch) {
  if (!Drain(mdstat_.get()).has_value()) mdstat_.Reset();
  AddEvent(batch, MdEvent(""));
  RefreshMdFiles();
}

void KernelWatcher::ReadAttributes(const std::vector<std::string>& ready, std::vector<KernelEvent>* batch) {
  for (const std::string& path : ready) {
    const auto at = md_files_.find(path);
    if (at == md_files_.end()) continue;
    auto content = Drain(at->second.fd.get());
    const bool same =
        content.has_value() && IsArrayState(path) && FoldArrayState(*content) == FoldArrayState(at->second.content);
    if (!same) AddEvent(batch, MdEvent(ArrayOf(path)));
    if (content.has_value()) {
      at->second.content = *std::move(content);
    } else {
      // A file of an array or member that has gone reports an error for ever: it must not stay in the poll.
      md_files_.erase(at);
    }
  }
}

bool KernelWatcher::Wait(int timeout_ms, std::vector<KernelEvent>* batch, bool* stop) {
  std::vector<struct pollfd> fds = {{stop_event_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
  // A negative descriptor is left out by poll.
  fds.push_back({mdstat_.get(), POLLPRI, 0});
  std::vector<std::string> paths;
  for (const auto& [path, file] : md_files_) {
    paths.push_back(path);
    fds.push_back({file.fd.get(), POLLPRI, 0});
  }
  const int count = ::poll(fds.data(), fds.size(), timeout_ms);
  const int err = errno;
  if (count < 0 && err != EINTR) ::poll(nullptr, 0, 100);  // out of memory, which must not become a busy loop
  if (count <= 0) return count < 0;
  *stop = fds[0].revents != 0;
  if (fds[1].revents != 0) ReadUevents(batch);
  if (fds[2].revents != 0) ReadMdstat(batch);
  std::vector<std::string> ready;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (fds[i + 3].revents != 0) ready.push_back(paths[i]);
  }
  ReadAttributes(ready, batch);
  return true;
}

void KernelWatcher::Run() {
  for (bool stop = false; !stop;) {
    std::vector<KernelEvent> batch;
    Wait(-1, &batch, &stop);
    const Clock::time_point end = Clock::now() + kBatchTime;
    while (!stop && !batch.empty()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      if (left <= 0 || !Wait(static_cast<int>(left), &batch, &stop)) break;
    }
    if (!stop && !batch.empty()) callback_(std::move(batch));
  }
}

}  // namespace meshstor
