#!/usr/bin/env -S UV_THREADPOOL_SIZE=16 MALLOC_ARENA_MAX=2 node --max-semi-space-size=8
/** The program: flags → parts → servers. Everything is wired here and in `main/`, nowhere else. */
import { runDoctor } from './cli/doctor.ts';
import { runCli } from './cli/program.ts';
import { programVersion } from './cli/version.ts';
import { DomainError } from './api/errors.ts';

/** How long a role that failed waits until its last line was taken. */
const LAST_WORDS_MS = 1000;

const print = (text: string): void => {
  process.stdout.write(text);
};

// `meshstor --help | head` closes the pipe early: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const role = { hasFailed: false };

function lastWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isPlain = error instanceof DomainError || 'syscall' in error;
  return isPlain ? error.message : (error.stack ?? error.message);
}

/** A role that cannot start says why in one line, what the kernel refused too; anything else is a bug and shows its stack. */
async function runRole(running: Promise<void>): Promise<number> {
  try {
    await running;
    return 0;
  } catch (error) {
    process.stderr.write(`meshstor: ${lastWords(error)}\n`);
    role.hasFailed = true;
    return 1;
  }
}

// Each role is loaded on demand: the controller never touches the addon, and help costs nothing.
const handlers = {
  runController: async (
    options: Parameters<typeof import('./main/run-controller.ts').runController>[0],
  ): Promise<number> => runRole((await import('./main/run-controller.ts')).runController(options)),
  runNode: async (options: Parameters<typeof import('./main/run-node.ts').runNode>[0]): Promise<number> =>
    runRole((await import('./main/run-node.ts')).runNode(options)),
  runDoctor: (options: Parameters<typeof runDoctor>[0]): Promise<number> => runDoctor(options, print),
  runTakeover: async (options: Parameters<typeof import('./main/run-takeover.ts').runTakeover>[0]): Promise<number> =>
    (await import('./main/run-takeover.ts')).runTakeover(options, print, io.stderr),
};

const io = {
  env: process.env,
  stdout: print,
  stderr: (text: string): void => {
    process.stderr.write(text);
  },
};
process.exitCode = await runCli(process.argv.slice(2), handlers, programVersion(), io);
if (role.hasFailed) {
  // Whatever of the role still runs must not keep a process alive that serves nothing. Nobody reading is no reason to stay.
  process.stderr.write('', () => process.exit());
  setTimeout(() => process.exit(), LAST_WORDS_MS);
}
