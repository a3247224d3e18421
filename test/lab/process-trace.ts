/** Reads the kernel's trace of forks and execs. */

/** What `events/<name>/enable` switches on, below the trace's directory. */
export const TRACED_EVENTS = ['task/task_newtask', 'sched/sched_process_fork', 'sched/sched_process_exec'] as const;

/**
 * `task_newtask: pid=40 comm=node clone_flags=3d0f00 oom_score_adj=0` (include/trace/events/task.h): the new task and what it shares
 * with the one that made it, hexadecimal. Traced by both fork and clone, before `sched_process_fork` of the same child.
 */
const NEW_TASK = /: task_newtask: pid=(\d+) comm=.* clone_flags=([0-9a-f]+) /;
/** `sched_process_fork: comm=node pid=12 child_comm=node child_pid=40`, of threads too; names may hold spaces. */
const FORK = /: sched_process_fork: comm=.* pid=(\d+) child_comm=.* child_pid=(\d+)/;
/** `sched_process_exec: filename=/usr/sbin/mdadm pid=40 old_pid=40`. `old_pid` differs where a thread other than the first execs. */
const EXEC = /: sched_process_exec: filename=(.*) pid=(\d+) old_pid=(\d+)/;
/** linux/sched.h: a thread of the process that made it. */
const CLONE_THREAD = 0x10000n;

export interface Started {
  /** Names of the programs executed, in order. */
  readonly programs: readonly string[];
  /** Processes that were forked and executed nothing: copies of whoever forked them. A task of unknown flags counts as one. */
  readonly copies: readonly number[];
}

function threadsOf(lines: readonly string[]): ReadonlySet<number> {
  const made = lines.map((line) => NEW_TASK.exec(line)).filter((match) => match !== null);
  const threads = made.filter(([, , flags]) => (BigInt(`0x${flags ?? '0'}`) & CLONE_THREAD) !== 0n);
  return new Set(threads.map(([, pid]) => Number(pid)));
}

/** What these tasks and their descendants started. `roots`: every thread of a process, whose children are those of each. */
export function startedBelow(roots: ReadonlySet<number>, lines: readonly string[]): Started {
  const threads = threadsOf(lines);
  const family = new Set(roots);
  const copies = new Set<number>();
  const programs: string[] = [];
  for (const line of lines) {
    const [, parent, child] = FORK.exec(line) ?? [];
    if (family.has(Number(parent))) {
      family.add(Number(child));
      if (!threads.has(Number(child))) copies.add(Number(child));
    }
    const [, path, pid, oldPid] = EXEC.exec(line) ?? [];
    if (path === undefined || !(family.has(Number(pid)) || family.has(Number(oldPid)))) continue;
    programs.push(path.replace(/^.*\//, ''));
    copies.delete(Number(pid));
  }
  return { programs, copies: [...copies] };
}
