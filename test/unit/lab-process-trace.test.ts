import { expect } from 'chai';
import { startedBelow } from '../lab/process-trace.ts';

/** As the kernel writes it: a thread of the pool, a shell and what it starts, and something of another process. */
const TRACE = `# tracer: nop
            node-310     [000] .....   100.000001: task_newtask: pid=899 comm=node clone_flags=3d0f00 oom_score_adj=0
            node-310     [000] .....   100.000001: sched_process_fork: comm=node pid=310 child_comm=node child_pid=899
            node-310     [000] .....   100.000001: task_newtask: pid=900 comm=node clone_flags=4100 oom_score_adj=0
            node-310     [000] .....   100.000001: sched_process_fork: comm=node pid=310 child_comm=node child_pid=900
           agent-200     [001] .....   100.000002: task_newtask: pid=901 comm=agent clone_flags=1200000 oom_score_adj=0
           agent-200     [001] .....   100.000002: sched_process_fork: comm=agent pid=200 child_comm=agent child_pid=901
            sh-901       [001] .....   100.000003: sched_process_exec: filename=/bin/sh pid=901 old_pid=901
            sh-900       [000] .....   100.000004: sched_process_exec: filename=/bin/sh pid=900 old_pid=900
            sh-900       [000] .....   100.000005: task_newtask: pid=902 comm=sh clone_flags=1200000 oom_score_adj=0
            sh-900       [000] .....   100.000005: sched_process_fork: comm=sh pid=900 child_comm=sh child_pid=902
          mdadm-902      [000] .....   100.000006: sched_process_exec: filename=/usr/sbin/mdadm pid=902 old_pid=902
`.split('\n');

/** A child of a pool thread that makes one system call and ends, and a thread that was made meanwhile and forks another. */
const COPIES =
  `  libuv-worker-315     [000] .....   200.000001: task_newtask: pid=910 comm=libuv-worker clone_flags=1200000 oom_score_adj=-999
    libuv-worker-315     [000] .....   200.000002: sched_process_fork: comm=libuv-worker pid=315 child_comm=libuv-worker child_pid=910
            node-310     [001] .....   200.000003: task_newtask: pid=911 comm=node clone_flags=3d0f00 oom_score_adj=-999
            node-310     [001] .....   200.000004: sched_process_fork: comm=node pid=310 child_comm=node child_pid=911
            node-911     [001] .....   200.000005: task_newtask: pid=912 comm=node clone_flags=1200000 oom_score_adj=-999
            node-911     [001] .....   200.000006: sched_process_fork: comm=node pid=911 child_comm=node child_pid=912
`.split('\n');

describe('the trace of started processes', () => {
  it('names the programs that a process started, and what those started, shells included', () => {
    expect(startedBelow(new Set([310]), TRACE)).to.deep.equal({ programs: ['sh', 'mdadm'], copies: [] });
  });

  it('leaves out what others started', () => {
    expect(startedBelow(new Set([200]), TRACE).programs).to.deep.equal(['sh']);
    expect(startedBelow(new Set([1]), TRACE)).to.deep.equal({ programs: [], copies: [] });
  });

  it('knows a program that a thread other than the first executes', () => {
    const line = 'node-315 [000] ..... 1.0: sched_process_exec: filename=/usr/bin/true pid=310 old_pid=315';
    expect(startedBelow(new Set([315]), [line]).programs).to.deep.equal(['true']);
  });

  it('knows children that execute nothing, also those of threads made meanwhile, and takes no thread for one', () => {
    expect(startedBelow(new Set([310, 315]), COPIES)).to.deep.equal({ programs: [], copies: [910, 912] });
    expect(startedBelow(new Set([310]), COPIES).copies).to.deep.equal([912]);
  });

  it('takes a task of which it knows no flags for a process', () => {
    const forks = COPIES.filter((line) => !line.includes('task_newtask'));
    expect(startedBelow(new Set([315]), forks).copies).to.deep.equal([910]);
  });
});
