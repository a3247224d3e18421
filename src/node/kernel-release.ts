/** Which kernels are refused, by the number of their release (SPEC §12). */

export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
  /** 0 where the release names none. */
  readonly patch: number;
}

export interface ReleaseVerdict {
  readonly severity: 'ok' | 'warning' | 'fatal';
  readonly what: string;
  readonly why: string;
  readonly fix: string;
}

interface RefusedRange {
  /** First release that has the fault. */
  readonly from: string;
  /** First release that has it no more. */
  readonly until: string;
  readonly fault: Fault;
}

interface Fault {
  readonly what: string;
  readonly why: string;
  readonly fix: string;
}

/**
 * Upstream 8745faa95611 (6.4) rounds the last bitmap write up to the device's optimal I/O size, beyond the bitmap's pages;
 * nvme-tcp then stops in the middle of it. ab99a87542f1 (6.11) repairs it; stable took it into 6.6.44 and 6.10.3.
 */
const BITMAP: Fault = {
  what: 'writes memory beyond the write-intent bitmap (md-bitmap rounding to the optimal I/O size)',
  why: 'the superblock area of members is overwritten, and writes of the bitmap over NVMe/TCP can stop for ever',
  fix: 'use 6.1.x, 6.6.44 or newer of 6.6, or 6.11 and newer',
};

/** The rewrite of read_balance (6.9, 9f3ced792203); c916ca35308d (6.11, stable 6.10.7, CVE-2024-45023) repairs its worst part. */
const READ_BALANCE: Fault = {
  what: 'can read from a member that is still being synchronised (raid1 read_balance of 6.9 and 6.10)',
  why: 'while a local copy is made and the good data is on remote members, reads return old data',
  fix: 'use 6.1.x, 6.6.44 or newer of 6.6, or 6.11 and newer',
};

const REFUSED: readonly RefusedRange[] = [
  { from: '6.9', until: '6.11', fault: READ_BALANCE },
  { from: '6.4', until: '6.6.44', fault: BITMAP },
  { from: '6.7', until: '6.10.3', fault: BITMAP },
];

const OLDEST_TRIED = '6.1';

/** `6.1.0-56-amd64` → 6.1.0; undefined when the text does not begin with two numbers. */
export function parseKernelRelease(release: string): KernelVersion | undefined {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release);
  if (match === null) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? '0') };
}

function compare(a: KernelVersion, b: KernelVersion): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch;
}

function isBefore(version: KernelVersion, limit: string): boolean {
  const other = parseKernelRelease(limit);
  return other !== undefined && compare(version, other) < 0;
}

export function judgeRelease(release: string): ReleaseVerdict {
  const version = parseKernelRelease(release);
  if (version === undefined) {
    const why = 'it cannot be compared with the refused ones';
    return { severity: 'warning', what: 'has a release that is no version', why, fix: 'compare it by hand' };
  }
  const refused = REFUSED.find(({ from, until }) => !isBefore(version, from) && isBefore(version, until));
  if (refused !== undefined) return { severity: 'fatal', ...refused.fault };
  if (isBefore(version, OLDEST_TRIED)) {
    return {
      severity: 'warning',
      what: `is older than ${OLDEST_TRIED}, the oldest that was tried`,
      why: "a distributor's kernel of an old number carries newer code, faults included, and the number does not tell",
      fix: `ask the distributor whether it has the md-bitmap fix ab99a87542f1, or use ${OLDEST_TRIED} or newer`,
    };
  }
  return { severity: 'ok', what: '', why: '', fix: '' };
}
