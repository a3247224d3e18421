/**
 * The three programs that a stage starts, once each: mdadm, mkfs and blkid (SPEC §5); an expansion starts mdadm and the program
 * that grows the filesystem. Everything else is native.
 * Each runs with a time limit, in the C locale, without a shell, and is judged by its exit code.
 */
import { execFile } from 'node:child_process';
import { DomainError } from '../api/errors.ts';
import { DATA_OFFSET_BYTES, RAID10_CHUNK_BYTES } from '../api/layout.ts';
import { MD_HOMEHOST } from '../api/names.ts';
import type { FsType } from '../api/volume.ts';
import { KIB } from '../support/units.ts';
import { MDADM_CONF_PATH, writeMdadmConf } from './mdadm-conf.ts';

export interface CreateArrayWanted {
  readonly arrayUUID: string;
  readonly name: string;
  readonly level: 1 | 10;
  /** Copies of the RAID10 near layout. */
  readonly layoutCopies: number;
  /** Device paths by slot. */
  readonly members: readonly (string | 'missing')[];
  readonly writeMostly: readonly string[];
  readonly memberDataBytes: number;
  readonly bitmapChunkBytes: number;
}

export interface ProbedFilesystem {
  readonly fsType: string;
  readonly uuid: string;
}

export interface MakeFilesystemWanted {
  readonly device: string;
  readonly fsType: FsType;
  readonly uuid: string;
  readonly label: string;
  readonly sectorSize: number;
}

export interface Tools {
  /** Creates and starts the array, members taken as equal. Not idempotent: its planner wipes and creates again. */
  createArray(wanted: CreateArrayWanted): Promise<void>;
  /** Assembles read-only from exactly these members, degraded if need be. */
  assembleArray(arrayUUID: string, name: string, members: readonly string[]): Promise<void>;
  /** A member that still has the array's superblock comes back by the bitmap, any other one is filled whole. Changes nothing when it fails. */
  addMember(array: string, member: string): Promise<void>;
  /** What libblkid finds; undefined when there is nothing. `precondition` when the result is ambiguous. */
  probeFilesystem(device: string): Promise<ProbedFilesystem | undefined>;
  /** Overwrites whatever is there: only its planner decides that it may. */
  makeFilesystem(wanted: MakeFilesystemWanted): Promise<void>;
  /** Online; what was added is taken as equal on all members. At that size already is success. */
  growArray(array: string, memberDataBytes: number): Promise<void>;
  /** Online, to all that the device has. At that size already is success. */
  growFilesystem(wanted: GrowFilesystemWanted): Promise<void>;
}

export interface GrowFilesystemWanted {
  /** Path of the array. */
  readonly array: string;
  readonly mountPoint: string;
  readonly fsType: FsType;
}

interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const TOOL_LIMIT_MS = 120_000;
/** A guard may begin to hold I/O back at any moment, and whoever mends it waits for the end of this. */
const STAGED_LIMIT_MS = 20_000;
const GIVE_UP_AFTER_MS = 5000;
/** mdadm: no udev links to wait for, no helper daemons, no systemd. */
const TOOL_ENVIRONMENT = { LC_ALL: 'C', MDADM_NO_UDEV: '1', MDADM_NO_MDMON: '1', MDADM_NO_SYSTEMCTL: '1' };

function run(program: string, args: readonly string[], limitMs = TOOL_LIMIT_MS): Promise<RunResult> {
  const path = process.env['PATH'] ?? '';
  const env = { PATH: `/usr/local/sbin:/usr/sbin:/sbin:${path}`, ...TOOL_ENVIRONMENT };
  return new Promise((resolve, reject) => {
    // A killed program that hangs in the kernel never ends: it is given up, and its planner looks again before anything else.
    const givenUp = setTimeout(() => {
      reject(
        new DomainError('internal', `running ${program}: it was killed and does not end: a device does not answer`),
      );
    }, limitMs + GIVE_UP_AFTER_MS);
    execFile(
      program,
      [...args],
      { env, timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 1 << 20 },
      (error, stdout, stderr) => {
        clearTimeout(givenUp);
        if (error === null) return resolve({ exitCode: 0, stdout, stderr });
        if (typeof error.code === 'number') return resolve({ exitCode: error.code, stdout, stderr });
        const why =
          error.killed === true
            ? `no end within ${limitMs / 1000} s`
            : error.code === 'ENOENT'
              ? 'it is not installed'
              : error.message;
        reject(new DomainError('internal', `running ${program}: ${why}`, { cause: error }));
      },
    );
  });
}

async function runChecked(program: string, args: readonly string[], limitMs = TOOL_LIMIT_MS): Promise<string> {
  const result = await run(program, args, limitMs);
  if (result.exitCode !== 0) {
    const said = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-3).join('; ');
    throw new DomainError('internal', `running ${program}: exit code ${result.exitCode}: ${said}`);
  }
  return result.stdout;
}

export class SystemTools implements Tools {
  readonly #runDirectory: string;
  readonly #kernelRelease: string;

  /** `runDirectory`: where mdadm's configuration is put, on a tmpfs. `kernelRelease`: decides which features a filesystem gets. */
  constructor(runDirectory: string, kernelRelease: string) {
    this.#runDirectory = runDirectory;
    this.#kernelRelease = kernelRelease;
  }

  async createArray(wanted: CreateArrayWanted): Promise<void> {
    const level =
      wanted.level === 1
        ? ['--level=1']
        : ['--level=10', `--layout=n${wanted.layoutCopies}`, `--chunk=${RAID10_CHUNK_BYTES / KIB}K`];
    const args = [
      '--create',
      `/dev/md/${wanted.name}`,
      `--config=${await writeMdadmConf(this.#runDirectory)}`,
      '--run',
      '--metadata=1.2',
      `--homehost=${MD_HOMEHOST}`,
      `--name=${wanted.name}`,
      `--uuid=${wanted.arrayUUID.replaceAll('-', '')}`,
      ...level,
      `--raid-devices=${wanted.members.length}`,
      '--bitmap=internal',
      `--bitmap-chunk=${wanted.bitmapChunkBytes / KIB}K`,
      `--data-offset=${DATA_OFFSET_BYTES / KIB}K`,
      `--size=${wanted.memberDataBytes / KIB}K`,
      '--assume-clean',
      ...membersWithFlags(wanted.members, new Set(wanted.writeMostly)),
    ];
    await runChecked('mdadm', args);
  }

  async assembleArray(arrayUUID: string, name: string, members: readonly string[]): Promise<void> {
    const config = `--config=${await writeMdadmConf(this.#runDirectory)}`;
    const uuid = `--uuid=${arrayUUID.replaceAll('-', '')}`;
    await runChecked('mdadm', ['--assemble', `/dev/md/${name}`, config, '--readonly', '--run', uuid, ...members]);
  }

  /**
   * While it manages an array, mdadm reads the machine's own configuration and no other, and gives a new member a bad-block log
   * unless that says otherwise: in a mount namespace of its own it finds ours there.
   */
  async addMember(array: string, member: string): Promise<void> {
    const script = `mount --bind "$1" ${MDADM_CONF_PATH} && exec mdadm --manage "$2" --add "$3"`;
    const args = ['--mount', '--propagation', 'private', '/bin/sh', '-c', script, 'sh'];
    await runChecked('unshare', [...args, await writeMdadmConf(this.#runDirectory), array, member], STAGED_LIMIT_MS);
  }

  async probeFilesystem(device: string): Promise<ProbedFilesystem | undefined> {
    const result = await run('blkid', ['--probe', '--output', 'export', device]);
    // blkid says 2 both for "nothing there" and for "could not look": in the second case it complains.
    if (result.exitCode === 2 && result.stdout.trim() === '' && result.stderr.trim() === '') return undefined;
    if (result.exitCode !== 0) {
      throw new DomainError(
        'precondition',
        `probing ${device} for a filesystem: blkid cannot tell (exit code ${result.exitCode}): look at it by hand`,
      );
    }
    const values = new Map(
      result.stdout.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    return {
      fsType: values.get('TYPE') ?? values.get('PTTYPE') ?? 'unknown',
      uuid: (values.get('UUID') ?? '').toLowerCase(),
    };
  }

  async makeFilesystem(wanted: MakeFilesystemWanted): Promise<void> {
    if (wanted.fsType === 'ext4') {
      const options = [
        '-q',
        '-F',
        '-E',
        'nodiscard,lazy_itable_init=1,lazy_journal_init=1',
        '-U',
        wanted.uuid,
        '-L',
        wanted.label,
      ];
      await runChecked('mkfs.ext4', [...options, wanted.device]);
      return;
    }
    const features = xfsFeatures(this.#kernelRelease);
    const sector = `size=${wanted.sectorSize}`;
    await runChecked('mkfs.xfs', [
      '-q',
      '-f',
      '-K',
      '-m',
      `${features},uuid=${wanted.uuid}`,
      '-s',
      sector,
      '-L',
      wanted.label,
      wanted.device,
    ]);
  }

  async growArray(array: string, memberDataBytes: number): Promise<void> {
    await runChecked('mdadm', ['--grow', array, `--size=${memberDataBytes / KIB}K`, '--assume-clean'], STAGED_LIMIT_MS);
  }

  async growFilesystem({ array, mountPoint, fsType }: GrowFilesystemWanted): Promise<void> {
    if (fsType === 'ext4') await runChecked('resize2fs', [array], STAGED_LIMIT_MS);
    else await runChecked('xfs_growfs', ['-d', mountPoint], STAGED_LIMIT_MS);
  }
}

/**
 * For `--create`, `--write-mostly` holds for every device named after it and cannot be taken back: it is given where only
 * flagged members follow, and left to the planner's correction by sysfs elsewhere.
 */
function membersWithFlags(members: readonly string[], writeMostly: ReadonlySet<string>): string[] {
  const isPlain = (member: string): boolean => member !== 'missing' && !writeMostly.has(member);
  const flaggedFrom = members.findLastIndex(isPlain) + 1;
  if (flaggedFrom === members.length) return [...members];
  return [...members.slice(0, flaggedFrom), '--write-mostly', ...members.slice(flaggedFrom)];
}

/** Only features that the running kernel can mount: bigtime and inobtcount came with 5.10. */
export function xfsFeatures(kernelRelease: string): string {
  const [major = 0, minor = 0] = kernelRelease.split('.').map((part) => Number.parseInt(part, 10));
  const recent = major > 5 || (major === 5 && minor >= 10);
  return `crc=1,finobt=1,reflink=0,bigtime=${recent ? 1 : 0},inobtcount=${recent ? 1 : 0}`;
}
