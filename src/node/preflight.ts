/**
 * Is this machine fit to be a storage node (SPEC §12)? A pure judgement over plain facts; `preflight-facts.ts` gathers them.
 * Fatal findings refuse new stages and nothing else (SPEC §7.14).
 */
import { judgeRelease } from './kernel-release.ts';

export type Severity = 'ok' | 'warning' | 'fatal';

export interface Finding {
  /** Stable, e.g. `module-nvmet-tcp`. */
  readonly id: string;
  readonly severity: Severity;
  readonly what: string;
  /** Why it matters; empty when all is well. */
  readonly why: string;
  /** What to do; empty when nothing is to be done. */
  readonly fix: string;
}

/** `unknown`: the module is not loaded and the directory of this kernel's modules cannot be seen. */
export type ModuleState = 'loaded' | 'built in' | 'loadable' | 'missing' | 'unknown';

export interface ToolSeen {
  /** Absent when the program was not found or did not answer. */
  readonly version?: string;
}

export interface PreflightFacts {
  readonly isRoot: boolean;
  /** `uname -r`. */
  readonly kernelRelease: string;
  /** By the names of `MODULES`. */
  readonly modules: Readonly<Record<string, ModuleState>>;
  readonly configfsMounted: boolean;
  readonly tools: Readonly<Record<string, ToolSeen>>;
  /** Parameter `multipath` of nvme_core; `absent` when there is none. */
  readonly nvmeMultipath: 'on' | 'off' | 'absent';
  readonly udevRunning: boolean;
  /** A rule that starts arrays by itself (`64-md-raid-assembly.rules`). */
  readonly udevAssembles: boolean;
  readonly ourUdevRule: 'current' | 'other version' | 'missing';
  readonly multipathdRunning: boolean;
  /** The initramfs is built with mdadm in it. */
  readonly initramfsAssembles: boolean;
  /** mdadm.conf says `AUTO -all`. */
  readonly mdadmAutoOff: boolean;
  /** Seconds; from the running module, else from modprobe.d or the kernel command line. */
  readonly queueTimeoutSecs: number;
  /** UV_THREADPOOL_SIZE, or 4 when it is not set; absent where nobody asks (doctor runs in a shell, not in the service). */
  readonly threadPoolSize?: number;
}

interface ModuleNeed {
  /** The kernel loads it by itself when it is needed. */
  readonly isAutoloaded: boolean;
  readonly severity: 'warning' | 'fatal';
  readonly why: string;
}

const EXPORTS = 'members on this node cannot be exported to other nodes';
const IMPORTS = 'members on other nodes cannot be reached';

export const MODULES: Readonly<Record<string, ModuleNeed>> = {
  nvmet: { isAutoloaded: false, severity: 'fatal', why: EXPORTS },
  'nvmet-tcp': { isAutoloaded: true, severity: 'fatal', why: EXPORTS },
  'nvme-fabrics': { isAutoloaded: false, severity: 'fatal', why: IMPORTS },
  'nvme-tcp': { isAutoloaded: true, severity: 'fatal', why: IMPORTS },
  raid1: { isAutoloaded: true, severity: 'fatal', why: 'volumes are RAID1 arrays' },
  raid10: { isAutoloaded: true, severity: 'warning', why: 'volumes with drivesPerCopy above 1 cannot be used here' },
  'dm-multipath': { isAutoloaded: true, severity: 'fatal', why: 'every member sits behind a guard of this kind' },
  'dm-service-time': { isAutoloaded: true, severity: 'fatal', why: 'the guards name this path selector' },
  xfs: { isAutoloaded: true, severity: 'fatal', why: 'it is the default filesystem of volumes' },
  ext4: { isAutoloaded: true, severity: 'warning', why: 'volumes with fstype ext4 cannot be mounted here' },
};

interface ToolNeed {
  /** Smallest version, `major.minor`. */
  readonly atLeast?: string;
  readonly severity: 'warning' | 'fatal';
  readonly why: string;
  readonly debianPackage: string;
}

export const TOOLS: Readonly<Record<string, ToolNeed>> = {
  mdadm: {
    atLeast: '4.1',
    severity: 'fatal',
    why: 'it creates and assembles the arrays, and must know "CREATE bbl=no"',
    debianPackage: 'mdadm',
  },
  'mkfs.xfs': {
    atLeast: '5.10',
    severity: 'fatal',
    why: 'it formats volumes, and must know the features bigtime and inobtcount',
    debianPackage: 'xfsprogs',
  },
  xfs_growfs: { severity: 'warning', why: 'volumes with fstype xfs cannot be expanded', debianPackage: 'xfsprogs' },
  resize2fs: { severity: 'warning', why: 'volumes with fstype ext4 cannot be expanded', debianPackage: 'e2fsprogs' },
  'mkfs.ext4': { severity: 'warning', why: 'volumes with fstype ext4 cannot be formatted', debianPackage: 'e2fsprogs' },
  blkid: {
    severity: 'fatal',
    why: 'it tells whether a volume has been formatted already',
    debianPackage: 'util-linux',
  },
};

export const UDEV_RULE_PATH = '/etc/udev/rules.d/60-meshstor.rules';
const THREADS_WANTED = 16;
const THREADS_NEEDED = 8;

function ok(id: string, what: string): Finding {
  return { id, severity: 'ok', what, why: '', fix: '' };
}

function judgeModule(name: string, need: ModuleNeed, state: ModuleState): Finding {
  const id = `module-${name}`;
  if (state === 'loaded' || state === 'built in') return ok(id, `kernel module ${name} is ${state}`);
  const keep = `modprobe ${name}, and put "${name}" into /etc/modules-load.d/meshstor.conf`;
  if (state === 'loadable') {
    if (need.isAutoloaded) return ok(id, `kernel module ${name} is there and is loaded when it is needed`);
    return { id, severity: 'warning', what: `kernel module ${name} is not loaded`, why: need.why, fix: keep };
  }
  if (state === 'unknown') {
    const what = `kernel module ${name} is not loaded, and this kernel's modules cannot be seen from here`;
    return { id, severity: need.severity, what, why: need.why, fix: `${keep}; in a container, mount /lib/modules` };
  }
  const fix = "install the kernel's full set of modules (not a cloud flavour), or build it in";
  return { id, severity: need.severity, what: `kernel module ${name} is not there`, why: need.why, fix };
}

/** Numbers of `1.2.3`, compared from the left; a missing one counts as 0. */
function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number));
  for (let at = 0; at < Math.max(a?.length ?? 0, b?.length ?? 0); at += 1) {
    const difference = (a?.[at] ?? 0) - (b?.[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function judgeTool(name: string, need: ToolNeed, seen: ToolSeen | undefined): Finding {
  const id = `tool-${name}`;
  const { why, severity } = need;
  if (seen?.version === undefined) {
    const fix = `install it (Debian: apt-get install ${need.debianPackage})`;
    return { id, severity, what: `${name} is not installed or does not run`, why, fix };
  }
  if (need.atLeast !== undefined && isOlder(seen.version, need.atLeast)) {
    const fix = `install ${name} ${need.atLeast} or newer`;
    return { id, severity, what: `${name} is version ${seen.version}, older than ${need.atLeast}`, why, fix };
  }
  return ok(id, `${name} is version ${seen.version}`);
}

function judgeUdev(facts: PreflightFacts): Finding {
  const id = 'udev-rule';
  if (!facts.udevRunning) return ok(id, 'udev does not run: nothing assembles arrays by itself');
  if (facts.ourUdevRule === 'current') return ok(id, 'the udev rule of MeshStor is installed');
  const fix = `copy deploy/udev/60-meshstor.rules to ${UDEV_RULE_PATH} and run udevadm control --reload`;
  const why = 'udev may start or hold the arrays and members of volumes before MeshStor does';
  if (facts.ourUdevRule === 'other version') {
    return { id, severity: 'warning', what: 'the udev rule of MeshStor is of another version', why, fix };
  }
  const severity = facts.udevAssembles ? 'fatal' : 'warning';
  return { id, severity, what: 'udev runs and the rule of MeshStor is not installed', why, fix };
}

function judgeInitramfs(facts: PreflightFacts): Finding {
  const id = 'initramfs-mdadm';
  if (!facts.initramfsAssembles) return ok(id, 'the initramfs does not assemble arrays');
  if (facts.mdadmAutoOff) return ok(id, 'mdadm.conf switches automatic assembly off (AUTO -all)');
  return {
    id,
    severity: 'warning',
    what: 'the initramfs holds mdadm and may start arrays while the machine boots',
    why: 'rules in /etc/udev do not reach it; members of volumes may be taken before MeshStor starts',
    fix: 'list your own arrays with ARRAY lines in mdadm.conf, add "AUTO -all", and rebuild the initramfs (update-initramfs -u)',
  };
}

function judgeMultipathd(running: boolean): Finding {
  const id = 'multipathd';
  if (!running) return ok(id, 'multipathd does not run');
  return {
    id,
    severity: 'warning',
    what: 'multipathd runs',
    why: 'it may take the devices of volumes for its own; mounts and arrays then find them busy',
    fix: 'blacklist MeshStor in /etc/multipath.conf (device vendor "NVME" product "MeshStor", and devnode "^(md|dm-)"), or stop it if nothing needs it',
  };
}

function judgeQueueTimeout(seconds: number): Finding {
  const id = 'dm-queue-timeout';
  if (seconds === 0) return ok(id, 'guards wait without a time limit');
  return {
    id,
    severity: 'fatal',
    what: `dm_multipath gives up queueing after ${seconds} s`,
    why: 'a guard that opens by itself lets MD drop a member before that is recorded; acknowledged data can be lost',
    fix:
      'echo 0 > /sys/module/dm_multipath/parameters/queue_if_no_path_timeout_secs, and remove the setting from ' +
      '/etc/modprobe.d or the kernel command line',
  };
}

function judgeThreads(size: number | undefined): readonly Finding[] {
  if (size === undefined) return [];
  const id = 'thread-pool';
  if (size >= THREADS_NEEDED) return [ok(id, `the thread pool has ${size} threads`)];
  const what = `the thread pool has ${size} threads`;
  const why = 'calls into the kernel that wait take all of them, and files and names cannot be read any more';
  return [{ id, severity: 'warning', what, why, fix: `set UV_THREADPOOL_SIZE=${THREADS_WANTED} in the environment` }];
}

function judgeKernel(release: string): Finding {
  const id = 'kernel-release';
  const verdict = judgeRelease(release);
  if (verdict.severity === 'ok') return ok(id, `kernel ${release} is none of the refused ones`);
  return {
    id,
    severity: verdict.severity,
    what: `kernel ${release} ${verdict.what}`,
    why: verdict.why,
    fix: verdict.fix,
  };
}

/** Every finding, the good ones too, in a fixed order. */
export function evaluatePreflight(facts: PreflightFacts): readonly Finding[] {
  const root: Finding = facts.isRoot
    ? ok('privileges', 'running as root')
    : {
        id: 'privileges',
        severity: 'fatal',
        what: 'not running as root',
        why: 'devices, mounts and the NVMe target need it, and some of what is checked here cannot be seen',
        fix: 'run as root (in Kubernetes: privileged)',
      };
  const configfs: Finding = facts.configfsMounted
    ? ok('configfs', 'configfs is mounted')
    : {
        id: 'configfs',
        severity: 'fatal',
        what: 'configfs is not mounted on /sys/kernel/config',
        why: EXPORTS,
        fix: 'mount -t configfs none /sys/kernel/config (systemd: sys-kernel-config.mount); in a container, mount /sys',
      };
  return [
    root,
    judgeKernel(facts.kernelRelease),
    ...Object.entries(MODULES).map(([name, need]) => judgeModule(name, need, facts.modules[name] ?? 'unknown')),
    configfs,
    ...Object.entries(TOOLS).map(([name, need]) => judgeTool(name, need, facts.tools[name])),
    ok('nvme-multipath', `native NVMe multipath is ${facts.nvmeMultipath} (either way is fine)`),
    judgeUdev(facts),
    judgeInitramfs(facts),
    judgeMultipathd(facts.multipathdRunning),
    judgeQueueTimeout(facts.queueTimeoutSecs),
    ...judgeThreads(facts.threadPoolSize),
  ];
}

/** The fatal ones in one line, for the refusal of a stage; empty when there are none. */
export function fatalSummary(findings: readonly Finding[]): string {
  return findings
    .filter((finding) => finding.severity === 'fatal')
    .map((finding) => finding.what)
    .join('; ');
}
