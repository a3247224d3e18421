import { findCondition } from '../api/conditions.ts';
import type { MeshStorVolume, PartitionState, PartitionStatus } from '../api/volume.ts';

export interface ConditionSeen {
  readonly abnormal: boolean;
  readonly message: string;
}

/** Conditions that only a person clears. */
const ALARMS = ['StatusLost', 'WitnessBehind'] as const;
const BAD_STATES: ReadonlySet<PartitionState> = new Set(['Missing', 'Faulty', 'Unknown']);

/**
 * Health of a volume in one bit and one sentence (SPEC §4): abnormal whenever an attached volume is neither `active` nor
 * `clean`, with the members that are failed or away.
 */
export function conditionOf(volume: MeshStorVolume): ConditionSeen {
  const status = volume.status;
  for (const type of ALARMS) {
    const alarm = findCondition(status?.conditions ?? [], type);
    if (alarm?.status === 'True') return { abnormal: true, message: `${type}: ${alarm.message}` };
  }
  if (status === undefined) return { abnormal: false, message: 'volume is not in use yet' };
  const bad = status.partitions.filter((partition) => BAD_STATES.has(partition.state)).map(nameOf);
  const members = bad.length === 0 ? '' : `: ${bad.join(', ')}`;
  if (status.nodeName === '' || status.mdState === '') {
    return { abnormal: bad.length > 0, message: `volume is not in use${members}` };
  }
  const isServed = status.mdState === 'active' || status.mdState === 'clean';
  const progress = status.syncPercentage === '' ? '' : ` at ${status.syncPercentage}`;
  return { abnormal: !isServed, message: `array is ${status.mdState}${progress}${members}` };
}

function nameOf(partition: PartitionStatus): string {
  return `slot ${partition.slot} on ${partition.nodeID}/${partition.device} is ${partition.state}`;
}
