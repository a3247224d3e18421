#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

namespace meshstor {

/// Why the kernel woke us. Only a hint to look again.
struct KernelEvent {
  enum class Source { kUevent, kMd };
  Source source = Source::kUevent;
  std::string action;  ///< `add`, `remove`, `change`, …; `md` for md's own files
  std::string device;  ///< kernel name; empty for /proc/mdstat and when events were lost
};

/// Parses one message of the kernel's uevent socket: `ACTION@DEVPATH`, NUL, `KEY=VALUE`, NUL, … Pure and total.
/// Empty for anything that is not about a block device or an NVMe controller.
std::optional<KernelEvent> ParseUevent(const char* message, size_t length);

/// Adds an event unless the same one is in the batch already.
void AddEvent(std::vector<KernelEvent>* batch, KernelEvent event);

/// What of an `array_state` is news. Under load md goes clean, active, write-pending, active-idle and back several
/// times a second; those are one to whoever decides anything.
std::string FoldArrayState(const std::string& text);

/// A thread that sleeps until the kernel has news of block devices or arrays: uevents, /proc/mdstat, and md's pollable
/// files (array_state, sync_action, sync_completed, degraded, dev-*/state). What comes within 20 ms is one batch. It
/// never wakes up by itself. Uevents reach only the initial user namespace's network namespaces; needs no privileges
/// beyond that.
class KernelWatcher {
 public:
  using Callback = std::function<void(std::vector<KernelEvent> events)>;

  /// Opens what there is to watch and starts the thread, which calls back. EPERM, EMFILE and their kind.
  static Result<std::unique_ptr<KernelWatcher>> Start(const Sysfs& sysfs, Callback callback);

  KernelWatcher(const KernelWatcher&) = delete;
  KernelWatcher& operator=(const KernelWatcher&) = delete;
  ~KernelWatcher() { Stop(); }

  /// Ends the thread; nothing is called back after it returns. Waits at most for a callback that is running.
  void Stop();

 private:
  KernelWatcher(const Sysfs& sysfs, Callback callback) : sysfs_(sysfs), callback_(std::move(callback)) {}

  Status OpenSources();
  void Run();
  /// Waits until something is ready and adds what it says to the batch; false when nothing came in `timeout_ms`.
  bool Wait(int timeout_ms, std::vector<KernelEvent>* batch, bool* stop);
  void ReadUevents(std::vector<KernelEvent>* batch);
  void ReadMdstat(std::vector<KernelEvent>* batch);
  void ReadAttributes(const std::vector<std::string>& ready, std::vector<KernelEvent>* batch);
  /// Opens the files of arrays and members that have come, and closes those that have gone.
  void RefreshMdFiles();
  bool WatchFile(const std::string& path);

  /// A pollable file of md's, and what it said last.
  struct MdFile {
    UniqueFd fd;
    std::string content;
  };

  Sysfs sysfs_;
  Callback callback_;
  UniqueFd socket_;
  UniqueFd stop_event_;
  UniqueFd mdstat_;
  /// md's files by their path; a file that goes away is dropped when it is read.
  std::map<std::string, MdFile> md_files_;
  std::thread thread_;
};

}  // namespace meshstor
