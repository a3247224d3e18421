/** The command line: which command, its options, help, and one clear line when something is wrong with them. */
import { statSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import type { ControllerOptions, DoctorOptions, NodeOptions, TakeoverOptions } from './options.ts';
import {
  CONTROLLER_OPTIONS,
  controllerOptions,
  DOCTOR_OPTIONS,
  doctorOptions,
  NODE_OPTIONS,
  nodeOptions,
  TAKEOVER_OPTIONS,
  takeoverOptions,
} from './options.ts';
import type { OptionSpec } from './option-table.ts';
import { UsageError } from './option-table.ts';

/** What the commands do; each resolves to the exit code. The composition root brings them. */
export interface CommandHandlers {
  runController(options: ControllerOptions): Promise<number>;
  runNode(options: NodeOptions): Promise<number>;
  runDoctor(options: DoctorOptions): Promise<number>;
  runTakeover(options: TakeoverOptions): Promise<number>;
}

export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** Wrong flags, values or commands. */
export const EXIT_USAGE = 2;

const OVERVIEW = `
Every option can be given by environment as well; its names stand in brackets. The command line counts first.
--role controller and --role node, anywhere on the line, are the same as the commands of these names.

Examples:
  meshstor doctor                                        is this machine fit to be a storage node?
  meshstor doctor -o json | jq '.findings[] | select(.severity == "fatal")'
  meshstor node --node-name worker-1 --drive-selector 'model=Samsung*'
  meshstor controller --leader-election --lease-namespace meshstor
  meshstor --role node --node-name worker-1              the same as meshstor node --node-name worker-1
`;

const NODE_EXAMPLES = `
Examples:
  meshstor node --node-name worker-1                     list drives, use none
  meshstor node --node-name worker-1 --drive-selector serial=S4EWNX0R123456
  meshstor node --drive-selector 'model=SAMSUNG MZ*,label/storage=fast' --drive-selector path=/dev/nvme1n1
  NODE_NAME=worker-1 CSI_ENDPOINT=unix:///csi/csi.sock meshstor node --initialize-blank
`;

const CONTROLLER_EXAMPLES = `
Examples:
  meshstor controller --csi-endpoint unix:///csi/csi.sock
  POD_NAMESPACE=meshstor POD_NAME=controller-0 meshstor controller --leader-election
`;

const DOCTOR_EXAMPLES = `
Exit code: 0 when nothing is fatal, 1 when something is. Nothing is changed.

Examples:
  meshstor doctor
  meshstor doctor --host-root /host -o json
`;

const TAKEOVER_EXAMPLES = `
For a volume that waits for ever, because every copy that holds all that was written is gone for good. An older copy becomes the truth;
what was written after it was left out is lost. The volume must be detached. Make sure that the node that used it last is off.
Exit code: 0 when it was done, 1 when it was only said or refused.

Examples:
  meshstor takeover pvc-5d2c7f10-9a4b-4c1e-8d3f-2b6a9e0c7d51                       what would be given up?
  kubectl -n meshstor exec deploy/meshstor-controller -c meshstor -- /opt/meshstor/dist/meshstor.mjs takeover VOLUME --accept-data-loss
`;

function addOptions(command: Command, table: Readonly<Record<string, OptionSpec>>): void {
  for (const spec of Object.values(table)) {
    const notes = [...spec.env, ...(spec.default === undefined ? [] : [`default ${spec.default}`])].join(', ');
    const option = new Option(spec.flag, notes === '' ? spec.help : `${spec.help} [${notes}]`).helpGroup(spec.group);
    if (spec.hidden === true) option.hideHelp();
    if (spec.repeatable === true) option.argParser((text: string, so: string[] | undefined) => [...(so ?? []), text]);
    command.addOption(option);
  }
}

type Flags = Readonly<Record<string, unknown>>;

/** commander's option names are made from the flags; the tables have names of their own. */
function byTableName(table: Readonly<Record<string, OptionSpec>>, command: Command): Flags {
  const flags: Flags = command.opts();
  const entries = Object.entries(table).map(([key, spec]) => {
    const attribute = new Option(spec.flag).attributeName();
    return [key, flags[attribute]] as const;
  });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

interface CommandSpec<T> {
  readonly name: string;
  readonly summary: string;
  readonly examples: string;
  readonly table: Readonly<Record<string, OptionSpec>>;
  /** What has to stand beside the options, as commander takes it: `<volume>`. */
  readonly argument?: string;
  readonly read: (flags: Flags, env: CliIo['env'], words: readonly string[]) => T;
  readonly run: (options: T) => Promise<number>;
}

function addCommand<T>(program: Command, spec: CommandSpec<T>, io: CliIo, finish: (code: number) => void): void {
  const command = program
    .command(spec.name)
    .summary(spec.summary)
    .description(spec.summary)
    .allowExcessArguments(false)
    .addHelpText('after', spec.examples);
  if (spec.argument !== undefined) command.argument(spec.argument);
  addOptions(command, spec.table);
  command.action(async () => {
    finish(await spec.run(spec.read(byTableName(spec.table, command), io.env, command.args)));
  });
}

/** What is looked for below it would look as if it were not installed. */
function withHostRoot<T extends { readonly hostRoot: string }>(options: T): T {
  if (statSync(options.hostRoot, { throwIfNoEntry: false })?.isDirectory() === true) return options;
  const given = JSON.stringify(options.hostRoot);
  throw new UsageError(`option --host-root (or MESHSTOR_HOST_ROOT): ${given} must be a directory that is there`);
}

function buildProgram(handlers: CommandHandlers, version: string, io: CliIo, finish: (code: number) => void): Command {
  const program = new Command('meshstor')
    .description('Replicated Kubernetes volumes from the local NVMe drives of bare-metal nodes.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help; after a command, the help of that command')
    .configureHelp({ helpWidth: 110, showGlobalOptions: false })
    .configureOutput({ writeOut: io.stdout, writeErr: () => undefined })
    .showSuggestionAfterError(false)
    .addHelpText('after', OVERVIEW)
    .exitOverride();
  const controller = {
    name: 'controller',
    summary: 'Run the controller role: the CSI controller service, placement, attachment.',
    examples: CONTROLLER_EXAMPLES,
    table: CONTROLLER_OPTIONS,
    read: controllerOptions,
    run: (options: ControllerOptions) => handlers.runController(options),
  };
  const node = {
    name: 'node',
    summary: 'Run the node role: drives, exports, arrays and mounts of this machine. Needs root.',
    examples: NODE_EXAMPLES,
    table: NODE_OPTIONS,
    read: nodeOptions,
    run: (options: NodeOptions) => handlers.runNode(withHostRoot(options)),
  };
  const doctor = {
    name: 'doctor',
    summary: 'Check whether this machine is fit to be a storage node, and say how to make it so.',
    examples: DOCTOR_EXAMPLES,
    table: DOCTOR_OPTIONS,
    read: doctorOptions,
    run: (options: DoctorOptions) => handlers.runDoctor(withHostRoot(options)),
  };
  const takeover = {
    name: 'takeover',
    summary: 'Let an older copy of a volume be the truth, when those that hold every write are lost.',
    examples: TAKEOVER_EXAMPLES,
    table: TAKEOVER_OPTIONS,
    argument: '<volume>',
    read: takeoverOptions,
    run: (options: TakeoverOptions) => handlers.runTakeover(options),
  };
  addCommand(program, controller, io, finish);
  addCommand(program, node, io, finish);
  addCommand(program, doctor, io, finish);
  addCommand(program, takeover, io, finish);
  return program;
}

const COMMANDS = ['controller', 'node', 'doctor', 'takeover'];
const ROLES = ['controller', 'node'];

/** `--role node …` is the same as `node …`, wherever on the line it stands. */
function withRoleAsCommand(args: readonly string[]): readonly string[] {
  const at = args.findIndex((word) => word === '--role' || word.startsWith('--role='));
  if (at < 0) return args;
  const isOneWord = args[at] !== '--role';
  const role = isOneWord ? args[at]?.slice('--role='.length) : args[at + 1];
  if (role === undefined || !ROLES.includes(role)) {
    throw new UsageError(`option --role: ${JSON.stringify(role ?? '')} must be one of ${ROLES.join(', ')}`);
  }
  const rest = [...args.slice(0, at), ...args.slice(at + (isOneWord ? 1 : 2))];
  if (COMMANDS.includes(rest[0] ?? '')) {
    throw new UsageError(`option --role: it stands for a command, and ${rest[0]} is one already`);
  }
  return [role, ...rest];
}

/** commander's complaints as one line of ours. */
function usageLine(error: CommanderError): string {
  if (error.code === 'commander.unknownCommand') {
    return `${error.message.replace(/^error: /, '')} must be one of ${COMMANDS.join(', ')}`;
  }
  const text = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .trim();
  return text.replace(/\.$/, '');
}

/**
 * Runs one command line (without the program's own name) and resolves to the exit code: 0, what the command answered, or 2
 * with one line on standard error when the command line or the environment is wrong. What a command throws is thrown on.
 */
export async function runCli(
  args: readonly string[],
  handlers: CommandHandlers,
  version: string,
  io: CliIo,
): Promise<number> {
  let exitCode = 0;
  const program = buildProgram(handlers, version, io, (code) => {
    exitCode = code;
  });
  try {
    const words = withRoleAsCommand(args);
    if (words.length === 0) {
      throw new UsageError(`a command is missing: one of ${COMMANDS.join(', ')}`);
    }
    await program.parseAsync([...words], { from: 'user' });
    return exitCode;
  } catch (error: unknown) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const line = error instanceof CommanderError ? usageLine(error) : error instanceof UsageError ? error.message : '';
    if (line === '') throw error;
    const command = COMMANDS.find((name) => args.includes(name));
    io.stderr(`meshstor: ${line} (see meshstor ${command === undefined ? '' : `${command} `}--help)\n`);
    return EXIT_USAGE;
  }
}
