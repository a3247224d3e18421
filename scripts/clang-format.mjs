// Formats (--write) or checks (default) the C++ code.
//
//   node scripts/clang-format.mjs [--write]

import { filesBelow, has, run } from './steps.mjs';

const files = filesBelow('native', ['.cc', '.h']);
const write = process.argv.includes('--write');

if (!has('clang-format')) {
  process.stderr.write('clang-format is not installed: apt-get install clang-format\n');
  process.exit(1);
}
if (write) {
  const result = files.length === 0 ? { ok: true } : await run('clang-format', ['-i', ...files], { live: true });
  process.exit(result.ok ? 0 : 1);
}
const wrong = [];
for (const file of files) {
  const result = await run('clang-format', ['--dry-run', '-Werror', file]);
  if (!result.ok) wrong.push(file);
}
if (wrong.length > 0) process.stdout.write(`not formatted (npm run format does it):\n  ${wrong.join('\n  ')}\n`);
process.exit(wrong.length === 0 ? 0 : 1);
