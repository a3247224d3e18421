#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/core/nvmet.h"

// Who works on which export of the target, within this process. Nothing here calls into the kernel.
//
// What the kernel itself locks (drivers/nvme/target/core.c, fs/configfs):
//  * The wait for requests in flight (nvmet_ns_disable; in 6.14 it was moved to nvmet_ns_free, hence to the rmdir, and
//    moved back later) is done without subsys->lock and without nvmet_config_sem: other subsystems, hosts and ports
//    stay free.
//  * A write that waits holds its namespace's configfs fragment for reading; other attributes of it can be read.
//  * A rmdir that waits holds the directories `namespaces` and `namespaces/<nsid>`, and, while it waits for the
//    fragment, keeps new readers of the attributes out: whoever lists or reads there hangs as well.

namespace meshstor {

/// The right to change one export. One at a time per export; taking it never waits.
class ExportClaim {
 public:
  /// `key`: path of the subsystem's directory. Nothing when somebody else holds it.
  static std::optional<ExportClaim> Take(const std::string& key);
  ExportClaim(ExportClaim&& other) noexcept : key_(std::move(other.key_)) { other.key_.clear(); }
  ExportClaim(const ExportClaim&) = delete;
  ExportClaim& operator=(const ExportClaim&) = delete;
  ExportClaim& operator=(ExportClaim&&) = delete;
  ~ExportClaim();

  /// From here on to the end of the claim the namespaces may not be looked at; readers get `seen`. Waits for those who
  /// look right now, at most a second: one that hangs must not keep a host from losing its access.
  void StartDrain(std::vector<NvmetNamespace> seen) const;
  /// The namespace is gone.
  void Drained(uint32_t nsid) const;

 private:
  explicit ExportClaim(std::string key) : key_(std::move(key)) {}
  std::string key_;
};

/// Leave to look at the namespaces of one export.
class ExportReading {
 public:
  explicit ExportReading(std::string key);
  ExportReading(const ExportReading&) = delete;
  ExportReading& operator=(const ExportReading&) = delete;
  ~ExportReading();

  /// Set while the namespaces are being drained: what there is still, in place of a look that would hang.
  const std::optional<std::vector<NvmetNamespace>>& draining() const { return draining_; }

 private:
  std::string key_;
  std::optional<std::vector<NvmetNamespace>> draining_;
};

}  // namespace meshstor
