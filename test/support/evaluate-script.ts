import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

const SCRIPTS = join(import.meta.dirname, '..', '..', 'scripts');

/** What a line of a script comes to as JSON, in a process of its own with only this environment. It may use `await`. */
export function evaluate(imports: string, file: string, expression: string, env: NodeJS.ProcessEnv): unknown {
  const text = `import { ${imports} } from '${join(SCRIPTS, file)}'; console.log(JSON.stringify((${expression})));`;
  const args = ['--input-type=module', '--eval', text];
  return JSON.parse(execFileSync(process.execPath, args, { env, encoding: 'utf8' }));
}
