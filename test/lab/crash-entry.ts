/**
 * The program with a death in it: the node role ends by SIGKILL right after one of its steps. Bundled like the program and run in
 * the guests by the scenario `driver-crash`.
 *
 * Every step that was carried out is a line of STEPS_FILE. The number in KILL_FILE, if there is one, says how many steps are left;
 * it is counted down there, so that it holds over nothing but this death: the file goes before the process does.
 */
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { runCli } from '../../src/cli/program.ts';
import { programVersion } from '../../src/cli/version.ts';
import { runController } from '../../src/main/run-controller.ts';
import { runNode } from '../../src/main/run-node.ts';
import type { StepDone } from '../../src/node/converge.ts';
import { KILL_FILE, STEPS_FILE } from './crash-files.ts';

function stepsLeft(): number | undefined {
  try {
    return Number(readFileSync(KILL_FILE, 'utf8'));
  } catch {
    return undefined;
  }
}

function onStep({ operation, step }: StepDone): void {
  appendFileSync(STEPS_FILE, `${operation}:${step}\n`);
  const left = stepsLeft();
  if (left === undefined) return;
  if (left > 1) {
    writeFileSync(KILL_FILE, String(left - 1));
    return;
  }
  rmSync(KILL_FILE);
  process.kill(process.pid, 'SIGKILL');
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
