import type { Condition } from './object.ts';

/** What a caller says of a condition; the time is kept by `setCondition`. */
export interface NewCondition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** One word in PascalCase, stable. */
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
}

/**
 * The list with this condition in it, sorted by type. `lastTransitionTime` becomes `now` (RFC 3339) only when the status
 * changes. When nothing changes at all, the very same array is returned, so that callers can tell by `===` to write nothing.
 */
export function setCondition(list: readonly Condition[], next: NewCondition, now: string): readonly Condition[] {
  const old = list.find((condition) => condition.type === next.type);
  if (old !== undefined && sameText(old, next) && isSorted(list)) return list;
  const lastTransitionTime = old?.status === next.status ? old.lastTransitionTime : now;
  const made: Condition = {
    type: next.type,
    status: next.status,
    reason: next.reason,
    message: next.message,
    lastTransitionTime,
    ...(next.observedGeneration === undefined ? {} : { observedGeneration: next.observedGeneration }),
  };
  return [...list.filter((condition) => condition.type !== next.type), made].sort(byType);
}

/** The list without this condition; the very same array when it has none. */
export function removeCondition(list: readonly Condition[], type: string): readonly Condition[] {
  return findCondition(list, type) === undefined ? list : list.filter((condition) => condition.type !== type);
}

export function findCondition(list: readonly Condition[], type: string): Condition | undefined {
  return list.find((condition) => condition.type === type);
}

function sameText(old: Condition, next: NewCondition): boolean {
  return (
    old.status === next.status &&
    old.reason === next.reason &&
    old.message === next.message &&
    old.observedGeneration === next.observedGeneration
  );
}

function isSorted(list: readonly Condition[]): boolean {
  return list.every((condition, index) => {
    const before = list[index - 1];
    return before === undefined || byType(before, condition) < 0;
  });
}

function byType(a: Condition, b: Condition): number {
  return a.type < b.type ? -1 : a.type > b.type ? 1 : 0;
}
