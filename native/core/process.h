#pragma once

#include <string>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

/// PR_SET_IO_FLUSHER (prctl(2), Linux 5.6) for every thread of the process, so that none of them waits in memory
/// reclaim for write-back to a volume that waits for this process. The flag belongs to a thread and is inherited by
/// those it starts; the threads of the pool may exist already, so each is told by a signal. EPERM without
/// CAP_SYS_RESOURCE, EINVAL from a kernel that does not know it.
Status SetIoFlusher();

/// Takes the exclusive flock on `path` (made if missing) and keeps it for the life of the process. EAGAIN while another
/// process, or this one already, holds it. Children with a limit and programs that are started do not inherit it.
Status AcquireNodeLock(Syscalls& sys, const std::string& path);

}  // namespace meshstor
