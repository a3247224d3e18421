/** What the checker writes: records of one size, each with its volume, writer, number, time and a checksum of all that. */

export const RECORD_BYTES = 128;

export interface WrittenRecord {
  readonly volume: string;
  /** One life of one program: node, attachment, start. */
  readonly writer: string;
  /** From 1 on, by writer. */
  readonly number: number;
  /** By the writer's clock. */
  readonly timeMs: number;
}

/** First and last of numbers that follow each other. */
export type Range = readonly [number, number];

/** What a file holds. */
export interface Found {
  /** Intact records of this volume: their numbers by writer, sorted, neighbours joined. */
  readonly writers: Readonly<Record<string, readonly Range[]>>;
  /** Places that hold something else: torn, damaged, of another volume. */
  readonly unreadable: number;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** As in IEEE 802.3. */
export function crc32(data: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

const WORD = /^[A-Za-z0-9@._-]+$/;

export function encodeRecord({ volume, writer, number, timeMs }: WrittenRecord): Buffer {
  if (!WORD.test(volume) || !WORD.test(writer)) throw new Error(`not a word: "${volume}" or "${writer}"`);
  const text = `record ${volume} ${writer} ${number} ${timeMs} `;
  const whole = `${text}${crc32(Buffer.from(text)).toString(16).padStart(8, '0')}`;
  if (whole.length >= RECORD_BYTES) throw new Error(`a record of ${whole.length} bytes is too long`);
  return Buffer.from(`${whole.padEnd(RECORD_BYTES - 1)}\n`);
}

/** Undefined for anything that `encodeRecord` did not make. */
export function decodeRecord(data: Buffer): WrittenRecord | undefined {
  const match = /^(record (\S+) (\S+) (\d+) (\d+) )([0-9a-f]{8}) *\n$/.exec(data.toString('latin1'));
  if (data.length !== RECORD_BYTES || match === null) return undefined;
  const [, text = '', volume = '', writer = '', number, timeMs, sum = ''] = match;
  if (crc32(Buffer.from(text, 'latin1')) !== Number.parseInt(sum, 16)) return undefined;
  return { volume, writer, number: Number(number), timeMs: Number(timeMs) };
}

/** Sorted numbers as ranges; each number may be there several times. */
export function rangesOf(numbers: readonly number[]): readonly Range[] {
  const ranges: [number, number][] = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && number <= last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges;
}

export function holds(ranges: readonly Range[], number: number): boolean {
  return ranges.some(([first, last]) => first <= number && number <= last);
}

/** Reads a file of records. What follows the last whole record counts as unreadable. */
export function readRecords(data: Buffer, volume: string): Found {
  const writers = new Map<string, number[]>();
  let unreadable = 0;
  for (let at = 0; at < data.length; at += RECORD_BYTES) {
    const record = decodeRecord(data.subarray(at, at + RECORD_BYTES));
    if (record?.volume !== volume) {
      unreadable += 1;
      continue;
    }
    const numbers = writers.get(record.writer);
    if (numbers === undefined) writers.set(record.writer, [record.number]);
    else numbers.push(record.number);
  }
  const found = [...writers].map(([writer, numbers]) => [writer, rangesOf(numbers)] as const);
  return { writers: Object.fromEntries(found), unreadable };
}
