/**
 * The program with a death in it: the node role ends by SIGKILL right after one of its steps. Bundled like the program and run in
 * the guests by the scenario `driver-crash`.
 *
 * Every step that was carried out is a line of STEPS_FILE. KILL_FILE, if there is one, says how many steps are left to the next
 * death, and how many lie between one death and the next.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { runCli } from '../../src/cli/program.ts';
import { programVersion } from '../../src/cli/version.ts';
import { runController } from '../../src/main/run-controller.ts';
import { runNode } from '../../src/main/run-node.ts';
import type { StepDone } from '../../src/node/converge.ts';
import { KILL_FILE, STEPS_FILE } from './crash-files.ts';

interface Deaths {
  readonly left: number;
  readonly every: number;
}

function readDeaths(): Deaths | undefined {
  try {
    const [left = 0, every = 0] = readFileSync(KILL_FILE, 'utf8').split(' ').map(Number);
    return { left, every };
  } catch {
    return undefined;
  }
}

function onStep({ operation, step }: StepDone): void {
  appendFileSync(STEPS_FILE, `${operation}:${step}\n`);
  const deaths = readDeaths();
  if (deaths === undefined) return;
  const { left, every } = deaths;
  writeFileSync(KILL_FILE, `${left > 1 ? left - 1 : every} ${every}`);
  if (left <= 1) process.kill(process.pid, 'SIGKILL');
}

const done = (role: Promise<void>): Promise<number> => role.then(() => 0);
const handlers = {
  runController: (options: Parameters<typeof runController>[0]): Promise<number> => done(runController(options)),
  runNode: (options: Parameters<typeof runNode>[0]): Promise<number> => done(runNode(options, onStep)),
  runDoctor: (): Promise<number> => Promise.resolve(2),
};
const print = (text: string): void => {
  process.stderr.write(text);
};
process.exitCode = await runCli(process.argv.slice(2), handlers, programVersion(), {
  env: process.env,
  stdout: print,
  stderr: print,
});
