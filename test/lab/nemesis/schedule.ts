/**
 * What strikes, in which order and for how long: all of it from the seed. Which node or volume a fault hits depends on who has what at
 * that time as well; `pick` and `other` are the numbers by which one is chosen among those in question.
 */
import { Seeded } from '../../kube/real/seeded.ts';

/** Faults of one track follow each other; the three tracks run side by side. */
export type Track = 'machine' | 'path' | 'process';

interface KindOfFault {
  readonly weight: number;
  /** How long it lasts. */
  readonly ms: readonly [number, number];
}

const KINDS = {
  machine: {
    /** No packet in or out. */
    cut: { weight: 3, ms: [2000, 25_000] },
    /** Stands still and does not notice. */
    pause: { weight: 3, ms: [2000, 25_000] },
    /** Power is cut; it boots again. */
    reset: { weight: 2, ms: [0, 0] },
    /** Reaches the holders and not the API. */
    'no-api': { weight: 2, ms: [3000, 25_000] },
    /** Called off though nothing is wrong with it. */
    'call-off': { weight: 4, ms: [1000, 6000] },
    /** A pod moves as planned. */
    move: { weight: 2, ms: [0, 0] },
  },
  path: {
    /** Two nodes do not reach each other. */
    split: { weight: 3, ms: [1500, 12_000] },
    /** Packets of one to the other vanish, those of the other arrive. */
    'split-one-way': { weight: 3, ms: [1500, 12_000] },
    blip: { weight: 3, ms: [300, 3000] },
    /** A drive whose members serve their own node. */
    'pull-drive': { weight: 2, ms: [2000, 12_000] },
    'slow-drive': { weight: 2, ms: [2000, 8000] },
  },
  process: {
    'kill-node-role': { weight: 4, ms: [0, 0] },
    'kill-controller': { weight: 2, ms: [200, 4000] },
    'restart-api': { weight: 2, ms: [100, 1000] },
    'stop-api': { weight: 2, ms: [2000, 12_000] },
    /** Takes requests and answers none. */
    'freeze-api': { weight: 2, ms: [2000, 10_000] },
    'drop-watches': { weight: 1, ms: [0, 0] },
  },
} as const satisfies Readonly<Record<Track, Readonly<Record<string, KindOfFault>>>>;

export type FaultKind<T extends Track> = keyof (typeof KINDS)[T] & string;

/** Between the end of one fault of a track and the next. */
const GAP_MS: Readonly<Record<Track, readonly [number, number]>> = {
  machine: [500, 5000],
  path: [4000, 14_000],
  process: [6000, 16_000],
};

export interface Strike<T extends Track> {
  readonly kind: FaultKind<T>;
  /** After the end of the one before. */
  readonly afterMs: number;
  readonly lastsMs: number;
  /** Below a million. */
  readonly pick: number;
  readonly other: number;
  /** The volumes of a machine that is struck start elsewhere, if a copy that holds everything is there. */
  readonly takeOver: boolean;
  /** Not before every volume has all its copies again; else it may strike in the middle of a rebuild. */
  readonly patient: boolean;
}

export const KINDS_OF = Object.fromEntries(
  Object.entries(KINDS).map(([track, kinds]) => [track, Object.keys(kinds)]),
) as unknown as { readonly [T in Track]: readonly FaultKind<T>[] };

const between = (chance: Seeded, [low, high]: readonly [number, number]): number => low + chance.below(high - low + 1);

/** Without end; the same seed gives the same. */
export function* strikes<T extends Track>(seed: number, track: T): Generator<Strike<T>, never> {
  const chance = new Seeded(seed * 31 + Object.keys(KINDS).indexOf(track) * 7919);
  const kinds = Object.entries(KINDS[track]) as [FaultKind<T>, KindOfFault][];
  const bag = kinds.flatMap(([kind, { weight }]) => Array.from({ length: weight }, () => kind));
  for (;;) {
    const kind = chance.oneOf(bag);
    const { ms } = (KINDS[track] as Readonly<Record<FaultKind<T>, KindOfFault>>)[kind];
    yield {
      kind,
      afterMs: between(chance, GAP_MS[track]),
      lastsMs: between(chance, ms),
      pick: chance.below(1_000_000),
      other: chance.below(1_000_000),
      takeOver: chance.below(4) > 0,
      patient: chance.isTrue(),
    };
  }
}

/** The one that a strike means; undefined of none. */
export function chosen<T>(choices: readonly T[], pick: number): T | undefined {
  return choices[pick % choices.length];
}
