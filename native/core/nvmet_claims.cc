#include "native/core/nvmet_claims.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>

namespace meshstor {
namespace {

constexpr std::chrono::seconds kReadersLimit{1};

struct Entry {
  bool claimed = false;
  int readers = 0;
  std::optional<std::vector<NvmetNamespace>> draining;
};

struct Table {
  std::mutex mutex;
  std::condition_variable reader_left;
  std::map<std::string, Entry> entries;

  void DropIfUnused(const std::string& key) {
    const auto found = entries.find(key);
    if (found != entries.end() && !found->second.claimed && found->second.readers == 0) entries.erase(found);
  }
};

/// Never destroyed: a thread that hangs may come back while the process ends.
Table& Claims() {
  static auto& table = *new Table;
  return table;
}

}  // namespace

std::optional<ExportClaim> ExportClaim::Take(const std::string& key) {
  Table& table = Claims();
  const std::lock_guard<std::mutex> lock(table.mutex);
  Entry& entry = table.entries[key];
  if (entry.claimed) return std::nullopt;
  entry.claimed = true;
  return ExportClaim(key);
}

ExportClaim::~ExportClaim() {
  if (key_.empty()) return;
  Table& table = Claims();
  const std::lock_guard<std::mutex> lock(table.mutex);
  Entry& entry = table.entries[key_];
  entry.claimed = false;
  entry.draining.reset();
  table.DropIfUnused(key_);
}

void ExportClaim::StartDrain(std::vector<NvmetNamespace> seen) const {
  Table& table = Claims();
  std::unique_lock<std::mutex> lock(table.mutex);
  Entry& entry = table.entries[key_];
  entry.draining = std::move(seen);
  table.reader_left.wait_for(lock, kReadersLimit, [&entry] { return entry.readers == 0; });
}

void ExportClaim::Drained(uint32_t nsid) const {
  Table& table = Claims();
  const std::lock_guard<std::mutex> lock(table.mutex);
  auto& left = table.entries[key_].draining;
  if (!left.has_value()) return;
  left->erase(std::remove_if(left->begin(), left->end(), [nsid](const NvmetNamespace& ns) { return ns.nsid == nsid; }),
              left->end());
}

ExportReading::ExportReading(std::string key) : key_(std::move(key)) {
  Table& table = Claims();
  const std::lock_guard<std::mutex> lock(table.mutex);
  const auto found = table.entries.find(key_);
  if (found != table.entries.end() && found->second.draining.has_value()) {
    draining_ = found->second.draining;
    return;
  }
  ++table.entries[key_].readers;
}

ExportReading::~ExportReading() {
  if (draining_.has_value()) return;
  Table& table = Claims();
  {
    const std::lock_guard<std::mutex> lock(table.mutex);
    --table.entries[key_].readers;
    table.DropIfUnused(key_);
  }
  table.reader_left.notify_all();
}

}  // namespace meshstor
