#!/usr/bin/env node
/** The program: flags → parts → servers. Everything is wired here and in `main/`, nowhere else. */
import { runDoctor } from './cli/doctor.ts';
import { runCli } from './cli/program.ts';
import { programVersion } from './cli/version.ts';
import { DomainError } from './api/errors.ts';

const print = (text: string): void => {
  process.stdout.write(text);
};

// `meshstor --help | head` closes the pipe early: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

/** A role that cannot start says why in one line; anything else is a bug and shows its stack. */
async function runRole(role: Promise<void>): Promise<number> {
  try {
    await role;
    return 0;
  } catch (error) {
    const text =
      error instanceof DomainError
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
    process.stderr.write(`meshstor: ${text}\n`);
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
};

const io = {
  env: process.env,
  stdout: print,
  stderr: (text: string): void => {
    process.stderr.write(text);
  },
};
process.exitCode = await runCli(process.argv.slice(2), handlers, programVersion(), io);
