/** What many runs met, for people; and what they should have met and did not. */
import { PARTITION_TRANSITIONS } from '../../src/plan/lifecycle.ts';
import { FAULTS } from './faults.ts';
import type { Tally } from './tally.ts';
import { ALL_TRANSITIONS } from './tally.ts';

/**
 * Transitions that nobody makes in these runs, each with the reason. Any other one has to occur: the state table has no row that
 * nothing leads through.
 */
export function whyNever(transition: string): string | undefined {
  const [from, to] = transition.split('>');
  if (PARTITION_TRANSITIONS.some((row) => row.from === from && row.to === to && row.by === 'person')) {
    return 'a person makes it: meshstor takeover';
  }
  if (from === 'Spare' || to === 'Spare') return 'nobody uses spares';
  if (from === 'Replacing' || to === 'Replacing') return 'replacements are not simulated';
  if (from === 'Unknown' || to === 'Unknown') return 'the controller does not record that a node is gone';
  if (transition === 'Created>Syncing') return 'an empty slot is filled by a replacement only';
  if (transition === 'Faulty>Syncing') return 'a drive that failed is replaced, not taken back';
  if (transition === 'Missing>Faulty') return 'what is out is tried no more';
  return undefined;
}

const linesOf = (counts: ReadonlyMap<string, number>, keys: readonly string[]): readonly string[] =>
  keys.map((key) => `  ${key}: ${counts.get(key) ?? 0}`);

/** They take a deletion in the moment of a birth or of a copy: many thousand runs. */
export const RARE: readonly string[] = ['Requested>Deleting', 'Syncing>Deleting'];

/** Kinds of faults, and transitions that can be made, which never were. */
export function missed(tally: Tally): readonly string[] {
  const transitions = ALL_TRANSITIONS.filter((transition) => whyNever(transition) === undefined);
  return [
    ...FAULTS.filter((kind) => !tally.faults.has(kind)),
    ...transitions.filter((transition) => !tally.transitions.has(transition)),
  ];
}

export function summaryOf(tally: Tally): readonly string[] {
  const possible = ALL_TRANSITIONS.filter((transition) => whyNever(transition) === undefined);
  const never = ALL_TRANSITIONS.filter((transition) => whyNever(transition) !== undefined);
  return [
    'faults:',
    ...linesOf(tally.faults, FAULTS),
    'transitions:',
    ...linesOf(tally.transitions, possible),
    'transitions that the driver does not make:',
    ...never.map(
      (transition) => `  ${transition}: ${tally.transitions.get(transition) ?? 0} (${whyNever(transition) ?? ''})`,
    ),
    'what happened:',
    ...linesOf(tally.things, [...tally.things.keys()].sort()),
  ];
}
