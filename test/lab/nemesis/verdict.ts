/** What a run amounts to. */
export interface Verdict {
  readonly acknowledged: number;
  readonly lost: number;
  readonly doubles: number;
  readonly faults: number;
  readonly takeovers: number;
  /** What did not come back after the last fault, with its state; also whatever else makes the run count for nothing. */
  readonly trouble: readonly string[];
}

export function isGood({ lost, doubles, trouble }: Verdict): boolean {
  return lost === 0 && doubles === 0 && trouble.length === 0;
}

/** The last line. */
export function formatVerdict({ acknowledged, lost, doubles, faults, takeovers }: Verdict): string {
  return `nemesis: ${acknowledged} acknowledged, ${lost} lost, ${doubles} double writers, ${faults} faults, ${takeovers} takeovers`;
}
