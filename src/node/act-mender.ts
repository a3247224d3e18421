/** Carries out the steps of mending a staged volume (SPEC §7.2, §7.8). Each is one effect that may be repeated. */
import { DomainError } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import { recordLost, recordReturning, recordStale } from '../plan/mending-records.ts';
import type { Who } from '../plan/owner.ts';
import type { MendStep } from '../plan/steps.ts';
import { withTimeLimit } from '../support/time-limit.ts';
import type { ConsumerActs, StageMemory } from './act-consumer.ts';
import { actStageStep } from './act-consumer.ts';

/**
 * What goes through the guard of a member that is in no array: nobody but us waits for that I/O, and whoever could mend the guard waits
 * for us. After this it is let fail.
 */
const GUARDED_IO_LIMIT_MS = 10_000;

/**
 * I/O through guards, one work at a time for each: what outlasts its limit goes on, in the kernel or in a program, and a superblock that
 * is wiped late must not be that of a member which was added meanwhile.
 */
export class GuardedWork {
  readonly #kernel: Pick<Kernel, 'messageDm'>;
  readonly #limitMs: number;
  /** What is done, by the path of the guard. */
  readonly #running = new Map<string, string>();

  constructor(kernel: Pick<Kernel, 'messageDm'>, limitMs = GUARDED_IO_LIMIT_MS) {
    this.#kernel = kernel;
    this.#limitMs = limitMs;
  }

  /** `leg`: path of the guard. Rejects `unavailable` when the work outlasts the limit, or earlier work has not ended. */
  async run(leg: string, what: string, work: () => Promise<void>): Promise<void> {
    const earlier = this.#running.get(leg);
    if (earlier !== undefined) {
      throw new DomainError('unavailable', `${what} ${leg}: ${earlier} it, begun earlier, has not ended`);
    }
    this.#running.set(leg, what);
    const done = work().finally(() => this.#running.delete(leg));
    const late = (): DomainError =>
      new DomainError('unavailable', `${what} ${leg}: no answer within ${this.#limitMs / 1000} s`);
    try {
      await withTimeLimit(done, this.#limitMs, late);
    } catch (error) {
      done.catch(() => undefined); // what it ends with was told as late
      await this.#kernel.messageDm(leg.replace(/^\/dev\/mapper\//, ''), 'fail_if_no_path');
      throw error;
    }
  }
}

const UNPROBED: StageMemory = { filesystem: { kind: 'unprobed' } };

/** A member with a bad-block log may be called in sync and lack an acknowledged block (SPEC §7.3): it does not stay. */
async function refuseBadBlockLog(acts: ConsumerActs, step: Extract<MendStep, { kind: 'addMember' }>): Promise<void> {
  const { kernel } = acts;
  if ((await kernel.readMdSuperblock(step.leg))?.hasBadBlockLog !== true) return;
  const legs = await kernel.dmDevices('meshstor-');
  const member = legs.find(({ name }) => step.leg === `/dev/mapper/${name}`)?.kernelName;
  const array = step.array.replace(/^\/dev\//, '');
  if (member !== undefined) {
    await kernel.setMdMemberState(array, member, 'faulty');
    await kernel.setMdMemberState(array, member, 'remove');
  }
  throw new DomainError(
    'internal',
    `adding ${step.leg} to ${step.array}: mdadm gave it a bad-block log, it was taken out`,
  );
}

export interface MendActs extends ConsumerActs {
  readonly guarded: GuardedWork;
}

export async function actMendStep(acts: MendActs, volumeId: string, who: Who, step: MendStep): Promise<void> {
  const { guarded, kernel, tools, volumes, now } = acts;
  switch (step.kind) {
    case 'recordLost':
      await volumes.mutateStatus(volumeId, (current) => recordLost(current, who, step.partitionUUID, step, now()));
      return;
    case 'recordStale':
      await volumes.mutateStatus(volumeId, (current) => recordStale(current, who, step.partitionUUID));
      return;
    case 'recordReturning':
      await volumes.mutateStatus(volumeId, (current) => recordReturning(current, who, step.partitionUUID, now()));
      return;
    case 'disconnect':
      return kernel.nvmeDisconnect(step.nqn);
    case 'failMember':
      return kernel.setMdMemberState(step.array, step.member, 'faulty');
    case 'removeMember':
      return kernel.setMdMemberState(step.array, step.member, 'remove');
    case 'wipeSuperblocks':
    case 'writeStamps':
      return guarded.run(step.legs[0] ?? '', 'writing to', () => actStageStep(acts, volumeId, who, UNPROBED, step));
    case 'addMember':
      await guarded.run(step.leg, 'adding', () => tools.addMember(step.array, step.leg));
      return guarded.run(step.leg, 'reading', () => refuseBadBlockLog(acts, step));
    default:
      return actStageStep(acts, volumeId, who, UNPROBED, step);
  }
}
