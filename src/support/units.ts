export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;
export const SECTOR = 512;

/** The smallest multiple of `unit` that is not below `value`. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** The largest multiple of `unit` that is not above `value`. */
export function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

const BINARY_UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'] as const;

/** Bytes for people: binary unit, one decimal unless whole, e.g. `931.5Gi`, `512Mi`, `0`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = value.toFixed(1).replace(/\.0$/, '');
  return `${text}${BINARY_UNITS[unit] ?? ''}`;
}

/** Bytes exactly, as Kubernetes writes a quantity: in the largest binary unit that leaves no rest, e.g. `1344Mi`, `1Gi`, `1000`. */
export function formatQuantity(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value > 0 && value % 1024 === 0 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value}${BINARY_UNITS[unit] ?? ''}`;
}
