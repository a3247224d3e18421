/**
 * The program with a death in it: the node role ends by SIGKILL right after one of its steps. Bundled like the program and run in
 * the guests by the scenario `driver-crash`.
 *
 * Every step that was carried out is a line of STEPS_FILE. DEATHS_FILE, if there is one, has a line for each death to come: the
 * step after which to die. A line is used up by its death, so that a volume goes forward however often a step is repeated.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { runCli } from '../../src/cli/program.ts';
import { programVersion } from '../../src/cli/version.ts';
import { runController } from '../../src/main/run-controller.ts';
import { runNode } from '../../src/main/run-node.ts';
import type { StepDone } from '../../src/node/converge.ts';
import { DEATHS_FILE, STEPS_FILE } from './crash-files.ts';

function deathsToCome(): string[] {
  try {
    return readFileSync(DEATHS_FILE, 'utf8').split('\n');
  } catch {
    return [];
  }
}

function onStep({ operation, step }: StepDone): void {
  const line = `${operation}:${step}`;
  appendFileSync(STEPS_FILE, `${line}\n`);
  const deaths = deathsToCome();
  const at = deaths.indexOf(line);
  if (at < 0) return;
  deaths.splice(at, 1);
  writeFileSync(DEATHS_FILE, deaths.join('\n'));
  process.kill(process.pid, 'SIGKILL');
}

const done = (role: Promise<void>): Promise<number> => role.then(() => 0);
const handlers = {
  runController: (options: Parameters<typeof runController>[0]): Promise<number> => done(runController(options)),
  runNode: (options: Parameters<typeof runNode>[0]): Promise<number> => done(runNode(options, onStep)),
  runDoctor: (): Promise<number> => Promise.resolve(2),
  runTakeover: (): Promise<number> => Promise.resolve(2),
};
const print = (text: string): void => {
  process.stderr.write(text);
};
process.exitCode = await runCli(process.argv.slice(2), handlers, programVersion(), {
  env: process.env,
  stdout: print,
  stderr: print,
});
