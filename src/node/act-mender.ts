/** Carries out the steps of mending a staged volume (SPEC §7.2, §7.8). Each is one effect that may be repeated. */
import { DomainError } from '../api/errors.ts';
import { recordLost, recordReturning, recordStale } from '../plan/mending-records.ts';
import type { Who } from '../plan/owner.ts';
import type { MendStep } from '../plan/steps.ts';
import type { ConsumerActs } from './act-consumer.ts';
import { actStageStep } from './act-consumer.ts';

/** A member with a bad-block log may be called in sync and lack an acknowledged block (SPEC §7.3): it does not stay. */
async function addMember(acts: ConsumerActs, step: Extract<MendStep, { kind: 'addMember' }>): Promise<void> {
  const { kernel, tools } = acts;
  await tools.addMember(step.array, step.leg);
  const superblock = await kernel.readMdSuperblock(step.leg);
  if (superblock?.hasBadBlockLog !== true) return;
  const legs = await kernel.dmDevices('meshstor-');
  const member = legs.find(({ path }) => path === step.leg)?.kernelName;
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

export async function actMendStep(acts: ConsumerActs, volumeId: string, who: Who, step: MendStep): Promise<void> {
  const { kernel, volumes, now } = acts;
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
    case 'failMember':
      return kernel.setMdMemberState(step.array, step.member, 'faulty');
    case 'removeMember':
      return kernel.setMdMemberState(step.array, step.member, 'remove');
    case 'addMember':
      return addMember(acts, step);
    default:
      return actStageStep(acts, volumeId, who, { filesystem: { kind: 'unprobed' } }, step);
  }
}
