/** Which member a step concerns: steps of one member fail alone. */
import { parseLegName, parseSubsystemNqn } from '../api/names.ts';
import type { PartitionStatus } from '../api/volume.ts';
import type { HolderStep, MendStep, StageStep } from '../plan/steps.ts';
import { describeMember } from '../plan/view.ts';

/** The partition that a holder's step is for; what names none stands for itself. */
export function partitionOfHolderStep(step: HolderStep): string {
  switch (step.kind) {
    case 'revokeExport':
    case 'fenceExport':
    case 'export':
      return parseSubsystemNqn(step.nqn)?.partitionUUID ?? step.nqn;
    case 'removeLeg':
      return parseLegName(step.name)?.partitionUUID ?? step.name;
    default:
      return step.partitionUUID;
  }
}

/** The member that a step of preparation is for; undefined for a step that concerns the array. */
export function partitionOfStageStep(step: StageStep | MendStep): string | undefined {
  switch (step.kind) {
    case 'connect':
    case 'createGuard':
    case 'reloadGuard':
    case 'refreshNamespace':
      return step.partitionUUID;
    case 'removeLeg':
      return parseLegName(step.name)?.partitionUUID;
    default:
      return undefined;
  }
}

/** With its node: whoever reads it has to know where to look. */
export function nameOfMember(partitionUUID: string, entries: readonly PartitionStatus[]): string {
  const entry = entries.find((candidate) => candidate.partitionUUID === partitionUUID);
  return entry === undefined ? `partition ${partitionUUID}` : describeMember(entry);
}
