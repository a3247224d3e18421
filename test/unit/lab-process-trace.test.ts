import { expect } from 'chai';
import { startedBelow } from '../lab/process-trace.ts';

const TRACE = `# tracer: nop
            node-310     [000] .....   100.000001: sched_process_fork: comm=node pid=310 child_comm=node child_pid=900
           agent-200     [001] .....   100.000002: sched_process_fork: comm=agent pid=200 child_comm=agent child_pid=901
            sh-901       [001] .....   100.000003: sched_process_exec: filename=/bin/sh pid=901 old_pid=901
            sh-900       [000] .....   100.000004: sched_process_exec: filename=/bin/sh pid=900 old_pid=900
            sh-900       [000] .....   100.000005: sched_process_fork: comm=sh pid=900 child_comm=sh child_pid=902
          mdadm-902      [000] .....   100.000006: sched_process_exec: filename=/usr/sbin/mdadm pid=902 old_pid=902
`.split('\n');

describe('the trace of started programs', () => {
  it('names what a process started, and what that started, shells included', () => {
    expect(startedBelow(new Set([310]), TRACE)).to.deep.equal(['sh', 'mdadm']);
  });

  it('leaves out what others started', () => {
    expect(startedBelow(new Set([200]), TRACE)).to.deep.equal(['sh']);
    expect(startedBelow(new Set([1]), TRACE)).to.deep.equal([]);
  });

  it('knows a program that a thread other than the first executes', () => {
    const line = 'node-315 [000] ..... 1.0: sched_process_exec: filename=/usr/bin/true pid=310 old_pid=315';
    expect(startedBelow(new Set([315]), [line])).to.deep.equal(['true']);
  });
});
