/**
 * Device-mapper tables of legs: the text that the kernel takes and gives (`drivers/md/dm-linear.c`, `drivers/md/dm-mpath.c`).
 * A guard is a `multipath` target in bio mode with one path (SPEC §7.2): without `queue_mode bio` the kernel refuses an NVMe head.
 */
import type { DmDevice, DmTarget } from '../api/kernel.ts';
import { SECTOR } from '../support/units.ts';

function wholeDevice(sizeBytes: number, type: string, params: string): readonly DmTarget[] {
  return [{ startSectors: 0, lengthSectors: sizeBytes / SECTOR, type, params }];
}

/** A holder's exclusive claim of a partition. */
export function claimTable(devicePath: string, sizeBytes: number): readonly DmTarget[] {
  return wholeDevice(sizeBytes, 'linear', `${devicePath} 0`);
}

/** Nothing but a part of a partition. */
export function windowTable(devicePath: string, startBytes: number, sizeBytes: number): readonly DmTarget[] {
  return wholeDevice(sizeBytes, 'linear', `${devicePath} ${startBytes / SECTOR}`);
}

/** A guard that queues while its path is lost. */
export function guardTable(devicePath: string, sizeBytes: number): readonly DmTarget[] {
  const params = `3 queue_if_no_path queue_mode bio 0 1 1 service-time 0 1 1 ${devicePath} 1`;
  return wholeDevice(sizeBytes, 'multipath', params);
}

export interface LegTable {
  readonly kind: 'linear' | 'guard' | 'empty';
  /** `major:minor` of the device under it, as the live table shows it. */
  readonly under?: string;
  readonly queues: boolean;
  readonly pathState: 'active' | 'failed' | 'none';
  readonly sizeBytes: number;
}

const DEV_NUMBER = /^[0-9]+:[0-9]+$/;

/** Reads what a device of ours is from its live table and status. A device without a live table is `empty`. */
export function parseLegTable(device: DmDevice): LegTable {
  const target = device.table[0];
  if (target === undefined) return { kind: 'empty', queues: false, pathState: 'none', sizeBytes: 0 };
  const words = target.params.split(/\s+/);
  const under = words.find((word) => DEV_NUMBER.test(word));
  const withUnder = under === undefined ? {} : { under };
  const sizeBytes = device.table.reduce((sum, { lengthSectors }) => sum + lengthSectors, 0) * SECTOR;
  if (target.type === 'linear') return { kind: 'linear', queues: false, pathState: 'none', sizeBytes, ...withUnder };
  return {
    kind: 'guard',
    queues: words.includes('queue_if_no_path'),
    pathState: pathStateOf(device.status[0]?.params ?? '', under),
    sizeBytes,
    ...withUnder,
  };
}

/** In the status every path is `<major:minor> <A|F> <failures>`. */
function pathStateOf(status: string, under: string | undefined): LegTable['pathState'] {
  const words = status.split(/\s+/);
  const at = under === undefined ? -1 : words.indexOf(under);
  const state = at < 0 ? undefined : words[at + 1];
  if (state === 'A') return 'active';
  return state === 'F' ? 'failed' : 'none';
}
