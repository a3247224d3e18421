// Go, found or installed, and what a go.mod says. Node built-ins only.

import { spawnSync } from 'node:child_process';
import { installPackages, SetupError } from './setup.mjs';

/** There is no Go to build with and none to install. */
export class GoMissing extends SetupError {}

/** What a go.mod requires, by module, and the release of Go that it asks for. Replaced modules count with their replacement. */
export function parseGoMod(text) {
  const requires = new Map();
  let go;
  let block = '';
  for (const raw of text.split('\n')) {
    const line = raw.replace(/\/\/.*/, '').trim();
    if (line === ')') block = '';
    else if (/^\w+ \($/.test(line)) block = line.split(' ')[0];
    else {
      const words = line.split(/\s+/);
      const verb = block === '' ? words.shift() : block;
      if (verb === 'go') go = words[0];
      if (verb === 'require') requires.set(words[0], words[1]);
      if (verb === 'replace') requires.set(words[0], words.at(-1));
    }
  }
  return { go, requires };
}

/** `1.26.8` → [1, 26, 8]; what is no number ends it. */
function numbers(version) {
  return (/^v?(\d+(?:\.\d+)*)/.exec(version)?.[1] ?? '').split('.').map(Number);
}

/** Whether one version is another or newer. */
export function isAtLeast(version, least) {
  const [have, want] = [numbers(version), numbers(least)];
  for (const [index, number] of want.entries()) {
    const own = have[index] ?? 0;
    if (own !== number) return own > number;
  }
  return true;
}

/** Same major and minor: the rule by which a program that is on the machine stands in for the pinned one. */
export function isSameMinor(version, pinned) {
  const [a, b] = [numbers(version), numbers(pinned)];
  return a.length >= 2 && a[0] === b[0] && a[1] === b[1];
}

/** Release of the Go on the PATH, as `1.26.8`; undefined when there is none. */
export function goVersion(env = process.env) {
  const { status, stdout } = spawnSync('go', ['env', 'GOVERSION'], {
    encoding: 'utf8',
    env: { ...env, GOTOOLCHAIN: 'local' },
  });
  return status === 0 ? /^go(\d+(?:\.\d+)*)/.exec(stdout.trim())?.[1] : undefined;
}

/** Release of the Go that Debian offers, as `1.19`; undefined when it offers none. */
export function goOffered(policyText) {
  return /Candidate: (?:\d+:)?(\d+(?:\.\d+)*)/.exec(policyText)?.[1];
}

function askApt() {
  const { stdout } = spawnSync('apt-cache', ['policy', 'golang-go'], { encoding: 'utf8' });
  return goOffered(stdout ?? '');
}

/**
 * The release of the Go to build with, `least` or newer. Debian's is installed where there is none and it is new enough;
 * otherwise throws what the reader has to do.
 */
export function requireGo(least, { found = goVersion, offered = askApt, install = installPackages } = {}) {
  const have = found();
  if (have !== undefined && isAtLeast(have, least)) return have;
  const candidate = offered();
  if (have === undefined && candidate !== undefined && isAtLeast(candidate, least)) {
    install(['golang-go']);
    const now = found();
    if (now !== undefined && isAtLeast(now, least)) return now;
  }
  const problem = have === undefined ? 'there is none' : `this machine has ${have}`;
  const debian = candidate === undefined ? '' : ` (Debian's golang-go is ${candidate})`;
  throw new GoMissing(
    `Go ${least} or newer is needed to build the Kubernetes components, and ${problem}${debian}. ` +
      `Install it and put its bin folder on the PATH:\n  export PATH=/usr/local/go/bin:$PATH`,
  );
}
