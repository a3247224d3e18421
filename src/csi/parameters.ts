/** StorageClass parameters (SPEC §3): text in, `ClassParameters` out, or `invalid` naming key, value and rule. */
import { DomainError } from '../api/errors.ts';
import type { FsType, SectorSize } from '../api/volume.ts';
import type { ClassParameters } from '../controller/operations.ts';

type Texts = Readonly<Record<string, string>>;

/** Our keys, each with its alias where it has one. */
const ALIASES: Readonly<Record<string, string | undefined>> = {
  numberOfCopies: 'replicaCount',
  drivesPerCopy: 'stripeWidth',
  memberMissingTimeout: undefined,
  sectorSize: undefined,
  onWitnessLoss: undefined,
  onLastCopyLoss: undefined,
  dataLocality: undefined,
};

const FS_TYPE_KEY = 'csi.storage.k8s.io/fstype';
const PVC_NAME_KEY = 'csi.storage.k8s.io/pvc/name';
const PVC_NAMESPACE_KEY = 'csi.storage.k8s.io/pvc/namespace';
const PV_NAME_KEY = 'csi.storage.k8s.io/pv/name';
/** The provisioner's own keys: it strips most of them; what is left is not for us. */
const TOLERATED_PREFIX = 'csi.storage.k8s.io/';

/** Limits of the custom resource's schema. */
const MOST_COPIES = 16;
const MOST_DRIVES_PER_COPY = 32;
const SHORTEST_TIMEOUT_SEC = 60;
const LONGEST_TIMEOUT_SEC = 31_536_000;

export function parseClassParameters(texts: Texts): ClassParameters {
  refuseUnknownKeys(texts);
  return {
    numberOfCopies: wholeNumber(texts, 'numberOfCopies', { fallback: 2, min: 1, max: MOST_COPIES }),
    drivesPerCopy: wholeNumber(texts, 'drivesPerCopy', { fallback: 1, min: 1, max: MOST_DRIVES_PER_COPY }),
    memberMissingTimeout: wholeNumber(texts, 'memberMissingTimeout', {
      fallback: 900,
      min: SHORTEST_TIMEOUT_SEC,
      max: LONGEST_TIMEOUT_SEC,
    }),
    sectorSize: SECTOR_SIZES[oneOf(texts, 'sectorSize', ['auto', '512', '4096'])],
    onWitnessLoss: oneOf(texts, 'onWitnessLoss', ['suspend', 'continue']),
    onLastCopyLoss: oneOf(texts, 'onLastCopyLoss', ['hold', 'fail']),
    dataLocality: oneOf(texts, 'dataLocality', ['best-effort', 'disabled']),
    fsType: oneOf<FsType>(texts, FS_TYPE_KEY, ['xfs', 'ext4']),
    ...given('pvcName', texts[PVC_NAME_KEY]),
    ...given('pvcNamespace', texts[PVC_NAMESPACE_KEY]),
    ...given('pvName', texts[PV_NAME_KEY]),
  };
}

const SECTOR_SIZES: Readonly<Record<'auto' | '512' | '4096', SectorSize | 'auto'>> = {
  auto: 'auto',
  '512': 512,
  '4096': 4096,
};

function given<Key extends string>(key: Key, text: string | undefined): Readonly<Partial<Record<Key, string>>> {
  const part: Partial<Record<Key, string>> = {};
  if (text !== undefined && text !== '') part[key] = text;
  return part;
}

function refuseUnknownKeys(texts: Texts): void {
  const known = new Set(
    Object.entries(ALIASES).flatMap(([key, alias]) => (alias === undefined ? [key] : [key, alias])),
  );
  for (const [key, value] of Object.entries(texts)) {
    if (known.has(key) || key.startsWith(TOLERATED_PREFIX)) continue;
    throw refusal(key, value, `unknown parameter, expected one of ${[...known].sort().join(', ')}`);
  }
}

/** The text of a key or of its alias; both at once is refused. Undefined: the default. */
function textOf(texts: Texts, key: string): { readonly key: string; readonly text: string } | undefined {
  const alias = ALIASES[key];
  const text = texts[key];
  const aliasText = alias === undefined ? undefined : texts[alias];
  if (alias === undefined || aliasText === undefined) return text === undefined ? undefined : { key, text };
  if (text !== undefined) throw refusal(key, text, `is also given as ${alias}, set only one of them`);
  return { key: alias, text: aliasText };
}

function wholeNumber(
  texts: Texts,
  key: string,
  rule: { readonly fallback: number; readonly min: number; readonly max: number },
): number {
  const given = textOf(texts, key);
  if (given === undefined) return rule.fallback;
  const expected = `expected a whole number from ${rule.min} to ${rule.max}`;
  if (!/^[0-9]{1,15}$/.test(given.text)) throw refusal(given.key, given.text, expected);
  const value = Number(given.text);
  if (value < rule.min || value > rule.max) throw refusal(given.key, given.text, expected);
  return value;
}

/** The first choice is the default. */
function oneOf<Choice extends string>(texts: Texts, key: string, choices: readonly [Choice, ...Choice[]]): Choice {
  const given = textOf(texts, key);
  if (given === undefined) return choices[0];
  const choice = choices.find((candidate) => candidate === given.text);
  if (choice === undefined) throw refusal(given.key, given.text, `expected ${choices.join(' or ')}`);
  return choice;
}

function refusal(key: string, value: string, rule: string): DomainError {
  return new DomainError('invalid', `read parameters: ${key} = ${JSON.stringify(value.slice(0, 128))}: ${rule}`);
}
