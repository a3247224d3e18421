/**
 * What the roles can be told, typed. Every option is one row of a table: flag, environment names, rule, default. The same row
 * makes the help text, reads the command line and the environment, and words the complaint.
 */
import { hostname } from 'node:os';
import type { DriveSelector } from '../node/drive-policy.ts';
import type { LogLevel } from '../observability/log.ts';
import type { OptionSpec, OptionValues } from './option-table.ts';
import { readOptions, UsageError } from './option-table.ts';
import {
  parseAbsolutePath,
  parseBoolean,
  parseDriveSelector,
  parseHostPort,
  parseIpAddress,
  parseLogLevel,
  parseMinutes,
  parseSpeed,
  parseName,
  parseNodeName,
  parseOneOf,
  parseUnixEndpoint,
  parseUuid,
} from './parse-values.ts';
import type { HostPort } from './parse-values.ts';

export interface CommonOptions {
  /** As given, e.g. `unix:///csi/csi.sock`. */
  readonly csiEndpoint: string;
  /** The socket's absolute path. */
  readonly csiSocketPath: string;
  /** Absent: the pod's service account, else what KUBECONFIG or ~/.kube/config say. */
  readonly kubeconfig?: string;
  readonly logLevel: LogLevel;
  /** Where /metrics, /healthz and /readyz are served. Port 0 takes any free one. */
  readonly metricsAddress: HostPort;
}

export interface ControllerOptions extends CommonOptions {
  readonly leaderElection: boolean;
  /** Namespace of the lease; empty only without leader election. */
  readonly leaseNamespace: string;
  /** Identity in the lease. */
  readonly podName: string;
  /** How long no PersistentVolume may name a volume before it is reported. */
  readonly unclaimedAfterMinutes: number;
}

export interface NodeOptions extends CommonOptions {
  readonly nodeName: string;
  /** Drives that may be used (SPEC §7.15). None: drives are listed, none is written. */
  readonly driveSelectors: readonly DriveSelector[];
  /** Blank drives that are allowed get a partition table. */
  readonly initializeBlank: boolean;
  /** For the copying of all this node's arrays together, MiB/s; 0 for the kernel's own limits. */
  readonly rebuildLimitMiBs: number;
  /** Address at which this node's exports are reached, instead of the annotation or the InternalIP. */
  readonly nvmeTcpAddress?: string;
  /** Where sysfs, procfs and configfs are looked for; only tests set it. */
  readonly sysRoot: string;
  /** Where the host's root directory is seen from here: `/` outside a container. */
  readonly hostRoot: string;
  /** Held for the life of the process: one node process per node. */
  readonly lockFile: string;
}

export interface DoctorOptions {
  readonly output: 'table' | 'json';
  readonly hostRoot: string;
}

export interface TakeoverOptions {
  /** Name of the MeshStorVolume. */
  readonly volume: string;
  readonly acceptDataLoss: boolean;
  /** PARTUUIDs of the copy to go on with. */
  readonly members: readonly string[];
  readonly kubeconfig?: string;
}

const COMMON = 'Common options:';

const COMMON_OPTIONS = {
  csiEndpoint: {
    flag: '--csi-endpoint <unix:///path>',
    env: ['MESHSTOR_CSI_ENDPOINT', 'CSI_ENDPOINT'],
    help: 'socket on which the CSI services are served; its path has at most 100 bytes',
    group: COMMON,
    default: 'unix:///csi/csi.sock',
    parse: parseUnixEndpoint,
  },
  kubeconfig: {
    flag: '--kubeconfig <file>',
    env: ['MESHSTOR_KUBECONFIG', 'KUBECONFIG'],
    help: "how to reach the Kubernetes API; without it the pod's service account is used",
    group: COMMON,
    parse: parseName,
  },
  logLevel: {
    flag: '--log-level <level>',
    env: ['MESHSTOR_LOG_LEVEL'],
    help: 'error, warn, info or debug; SIGUSR2 switches debug on and off while running',
    group: COMMON,
    default: 'info',
    parse: parseLogLevel,
  },
  metricsAddress: {
    flag: '--metrics-address <host:port>',
    env: ['MESHSTOR_METRICS_ADDRESS'],
    help: 'where /metrics, /healthz and /readyz are served',
    group: COMMON,
    default: '0.0.0.0:9810',
    parse: parseHostPort,
  },
} satisfies Record<string, OptionSpec>;

export const CONTROLLER_OPTIONS = {
  ...COMMON_OPTIONS,
  leaderElection: {
    flag: '--leader-election [true|false]',
    env: ['MESHSTOR_LEADER_ELECTION'],
    help: 'let one of several replicas run the reconcilers; calls are served by all',
    group: 'Controller options:',
    default: 'false',
    parse: parseBoolean,
  },
  leaseNamespace: {
    flag: '--lease-namespace <namespace>',
    env: ['MESHSTOR_LEASE_NAMESPACE', 'POD_NAMESPACE'],
    help: 'namespace of the lease; needed with leader election',
    group: 'Controller options:',
    parse: parseName,
  },
  podName: {
    flag: '--pod-name <name>',
    env: ['MESHSTOR_POD_NAME', 'POD_NAME'],
    help: "identity in the lease; without it the machine's host name",
    group: 'Controller options:',
    parse: parseName,
  },
  unclaimedAfterMinutes: {
    flag: '--unclaimed-after-minutes <minutes>',
    env: ['MESHSTOR_UNCLAIMED_AFTER_MINUTES'],
    help: 'report a volume that no PersistentVolume has named for so long; it is never deleted for that',
    group: 'Controller options:',
    default: '10',
    parse: parseMinutes,
  },
} satisfies Record<string, OptionSpec>;

const HOST_ROOT = {
  flag: '--host-root <directory>',
  env: ['MESHSTOR_HOST_ROOT'],
  help: "where the host's root directory is mounted",
  group: 'Node options:',
  default: '/',
  parse: parseAbsolutePath,
} satisfies OptionSpec;

export const NODE_OPTIONS = {
  ...COMMON_OPTIONS,
  nodeName: {
    flag: '--node-name <name>',
    env: ['MESHSTOR_NODE_NAME', 'NODE_NAME'],
    help: 'name of the Kubernetes node this runs on (required)',
    group: 'Node options:',
    parse: parseNodeName,
  },
  driveSelectors: {
    flag: '--drive-selector <key=glob,…>',
    env: ['MESHSTOR_DRIVE_SELECTORS'],
    help:
      'drives that may be used: model, serial, path (globs with *), label/<key> of the node; all parts must match. ' +
      'Repeatable (in the environment: separated by ";"). Without one, drives are listed and none is written',
    group: 'Drive options:',
    repeatable: true,
    parse: parseDriveSelector,
  },
  initializeBlank: {
    flag: '--initialize-blank [true|false]',
    env: ['MESHSTOR_INITIALIZE_BLANK'],
    help: 'write a partition table on allowed drives that are blank',
    group: 'Drive options:',
    default: 'false',
    parse: parseBoolean,
  },
  rebuildLimit: {
    flag: '--rebuild-limit <MiB/s>',
    env: ['MESHSTOR_REBUILD_LIMIT'],
    help: "what is copied at most to fill members of this node's volumes, all together; 0: as much as the kernel likes",
    group: 'Drive options:',
    default: '200',
    parse: parseSpeed,
  },
  nvmeTcpAddress: {
    flag: '--nvme-tcp-address <ip>',
    env: ['MESHSTOR_NVME_TCP_ADDRESS'],
    help: "address for this node's exports, instead of the node's annotation or InternalIP",
    group: 'Node options:',
    parse: parseIpAddress,
  },
  lockFile: {
    flag: '--lock-file <file>',
    env: ['MESHSTOR_LOCK_FILE'],
    help: 'held while running, so that there is one node process per node',
    group: 'Node options:',
    default: '/run/meshstor/node.lock',
    parse: parseAbsolutePath,
  },
  hostRoot: HOST_ROOT,
  sysRoot: {
    flag: '--sys-root <directory>',
    env: ['MESHSTOR_SYS_ROOT'],
    help: 'where sys, proc and sys/kernel/config are looked for; for tests',
    group: 'Node options:',
    default: '/',
    hidden: true,
    parse: parseAbsolutePath,
  },
} satisfies Record<string, OptionSpec>;

export const DOCTOR_OPTIONS = {
  output: {
    flag: '-o, --output <format>',
    env: ['MESHSTOR_OUTPUT'],
    help: 'table or json',
    group: 'Doctor options:',
    default: 'table',
    parse: (text: string) => parseOneOf(text, ['table', 'json'] as const),
  },
  hostRoot: { ...HOST_ROOT, group: 'Doctor options:' },
} satisfies Record<string, OptionSpec>;

export const TAKEOVER_OPTIONS = {
  // On the command line alone: nobody accepts this by what stands in an environment.
  acceptDataLoss: {
    flag: '--accept-data-loss',
    env: [],
    help: 'do it; without this, only say what would be done',
    group: 'Takeover options:',
    parse: parseBoolean,
  },
  members: {
    flag: '--member <partition uuid>',
    env: [],
    help: 'the copy to go on with, where there are several or its node is not heard of; repeatable',
    group: 'Takeover options:',
    repeatable: true,
    parse: parseUuid,
  },
  kubeconfig: COMMON_OPTIONS.kubeconfig,
} satisfies Record<string, OptionSpec>;

type Environment = Readonly<Record<string, string | undefined>>;

function commonOptions(values: OptionValues<typeof COMMON_OPTIONS>): CommonOptions {
  if (values.csiEndpoint === undefined || values.logLevel === undefined || values.metricsAddress === undefined) {
    throw new TypeError('an option with a default has no value');
  }
  return {
    csiEndpoint: values.csiEndpoint.endpoint,
    csiSocketPath: values.csiEndpoint.path,
    logLevel: values.logLevel,
    metricsAddress: values.metricsAddress,
    ...(values.kubeconfig === undefined ? {} : { kubeconfig: values.kubeconfig }),
  };
}

/** `flags`: what commander read, by option name. Throws `UsageError`. */
export function controllerOptions(flags: Readonly<Record<string, unknown>>, env: Environment): ControllerOptions {
  const values = readOptions(CONTROLLER_OPTIONS, flags, env);
  const leaderElection = values.leaderElection === true;
  if (leaderElection && values.leaseNamespace === undefined) {
    throw new UsageError('option --lease-namespace (or POD_NAMESPACE) is required with --leader-election');
  }
  return {
    ...commonOptions(values),
    leaderElection,
    leaseNamespace: values.leaseNamespace ?? '',
    podName: values.podName ?? hostname(),
    unclaimedAfterMinutes: values.unclaimedAfterMinutes ?? 10,
  };
}

/** `flags`: what commander read, by option name. Throws `UsageError`. */
export function nodeOptions(flags: Readonly<Record<string, unknown>>, env: Environment): NodeOptions {
  const values = readOptions(NODE_OPTIONS, flags, env);
  if (values.nodeName === undefined) throw new UsageError('option --node-name (or NODE_NAME) is required');
  return {
    ...commonOptions(values),
    nodeName: values.nodeName,
    driveSelectors: values.driveSelectors ?? [],
    initializeBlank: values.initializeBlank === true,
    rebuildLimitMiBs: values.rebuildLimit ?? 200,
    sysRoot: values.sysRoot ?? '/',
    hostRoot: values.hostRoot ?? '/',
    lockFile: values.lockFile ?? '/run/meshstor/node.lock',
    ...(values.nvmeTcpAddress === undefined ? {} : { nvmeTcpAddress: values.nvmeTcpAddress }),
  };
}

/** `flags`: what commander read, by option name. Throws `UsageError`. */
export function doctorOptions(flags: Readonly<Record<string, unknown>>, env: Environment): DoctorOptions {
  const values = readOptions(DOCTOR_OPTIONS, flags, env);
  return { output: values.output ?? 'table', hostRoot: values.hostRoot ?? '/' };
}

/** `words`: what stands on the command line beside options. */
export function takeoverOptions(
  flags: Readonly<Record<string, unknown>>,
  env: Environment,
  [volume = '']: readonly string[],
): TakeoverOptions {
  const values = readOptions(TAKEOVER_OPTIONS, flags, env);
  return {
    volume,
    acceptDataLoss: values.acceptDataLoss === true,
    members: values.members ?? [],
    ...(values.kubeconfig === undefined ? {} : { kubeconfig: values.kubeconfig }),
  };
}
