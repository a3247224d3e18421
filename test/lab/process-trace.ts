/** Reads the kernel's trace of forks and execs. */

/** `sched_process_fork: comm=node pid=12 child_comm=node child_pid=40`; names may hold spaces. */
const FORK = /: sched_process_fork: comm=.* pid=(\d+) child_comm=.* child_pid=(\d+)/;
/** `sched_process_exec: filename=/usr/sbin/mdadm pid=40 old_pid=40`. `old_pid` differs where a thread other than the first execs. */
const EXEC = /: sched_process_exec: filename=(.*) pid=(\d+) old_pid=(\d+)/;

/** Names of the programs that descendants of these processes executed, in order. Threads are told apart by nothing: they are processes here. */
export function startedBelow(roots: ReadonlySet<number>, lines: readonly string[]): readonly string[] {
  const family = new Set(roots);
  const programs: string[] = [];
  for (const line of lines) {
    const fork = FORK.exec(line);
    if (fork !== null && family.has(Number(fork[1]))) family.add(Number(fork[2]));
    const exec = EXEC.exec(line);
    if (exec === null || !(family.has(Number(exec[2])) || family.has(Number(exec[3])))) continue;
    programs.push((exec[1] ?? '').replace(/^.*\//, ''));
  }
  return programs;
}
