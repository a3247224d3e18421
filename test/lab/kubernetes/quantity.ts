import { GIB, KIB, MIB } from '../../../src/support/units.ts';

const UNITS: Readonly<Record<string, number>> = { '': 1, Ki: KIB, Mi: MIB, Gi: GIB, Ti: 1024 * GIB };

/** Bytes of an amount as Kubernetes writes it, by powers of two. */
export function bytesOf(quantity: string): number {
  const [, digits = '', unit = ''] = /^(\d+)(Ki|Mi|Gi|Ti)?$/.exec(quantity) ?? [];
  const factor = UNITS[unit];
  if (digits === '' || factor === undefined) throw new Error(`no amount of bytes: ${quantity}`);
  return Number(digits) * factor;
}
