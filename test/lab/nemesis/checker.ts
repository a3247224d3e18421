/** The host's end of the program that writes and reads records in a guest (`writer.ts`). */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PodVolume } from '../kubelet.ts';
import type { GuestProcess, Machine } from '../machine.ts';
import { REPO_ROOT } from '../paths.ts';
import type { Found } from './records.ts';

const BUNDLE = join('build', 'nemesis', 'writer.mjs');
const READ_LIMIT_MS = 120_000;

/** Path of the program as guests see it. */
export function buildChecker(): string {
  const flags = ['--bundle-only', '--force', '--entry', 'test/lab/nemesis/writer.ts', '--out', BUNDLE];
  const built = spawnSync(process.execPath, ['scripts/build.mjs', ...flags], { cwd: REPO_ROOT, encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`bundling the checker: ${built.stderr}`);
  return join(REPO_ROOT, BUNDLE);
}

export interface CheckerWanted {
  readonly checker: string;
  readonly volume: PodVolume;
  readonly writer: string;
  /** Between two records; undefined: it only reads. */
  readonly pauseMs?: number;
  readonly onWritten?: (number: number) => void;
  /** A record whose write or fsync failed, with the error's code. */
  readonly onError?: (number: number, code: string) => void;
}

export interface Checker {
  readonly program: GuestProcess;
  /** What it read at first; never comes if it cannot. */
  readonly found: Promise<Found>;
}

/** Its output goes to a log of that label as well. */
export async function startChecker(machine: Machine, label: string, wanted: CheckerWanted): Promise<Checker> {
  let tell: (found: Found) => void = () => undefined;
  const found = new Promise<Found>((resolve) => (tell = resolve));
  const onLine = (line: string): void => {
    const [word, ...rest] = line.split(' ');
    if (word === 'found') tell(JSON.parse(rest.join(' ')) as Found);
    if (word === 'written') wanted.onWritten?.(Number(rest[0]));
    if (word === 'error') wanted.onError?.(Number(rest[0]), rest[1] ?? '');
  };
  let pending = '';
  const onOutput = (data: Buffer): void => {
    const lines = `${pending}${data.toString()}`.split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  };
  const { checker, volume, writer, pauseMs } = wanted;
  const words = [`${volume.targetPath}/records`, volume.volumeId, writer];
  const command = [process.execPath, checker, ...words, ...(pauseMs === undefined ? [] : [String(pauseMs)])];
  return { program: await machine.start(label, command, { onOutput }), found };
}

/** Reads all records of a volume that is published. */
export async function readOnce(machine: Machine, checker: string, volume: PodVolume): Promise<Found> {
  const wanted = { checker, volume, writer: 'reader' };
  const { program, found } = await startChecker(machine, `reader-${volume.volumeId}`, wanted);
  const ended = program.ended.then(({ code, signal }) => `it ended with ${code ?? signal}`);
  const late = sleep(READ_LIMIT_MS, 'it takes too long', { ref: false });
  // What it printed has come before it is told to have ended.
  const what = await Promise.race([found, ended, late]);
  if (typeof what === 'string') throw new Error(`reading ${volume.volumeId} at ${machine.name}: ${what}`);
  return what;
}
