/** Durations by what took them, and the table of them. */
export class Times {
  readonly #all = new Map<string, number[]>();

  record(what: string, ms: number): void {
    const known = this.#all.get(what);
    if (known === undefined) this.#all.set(what, [ms]);
    else known.push(ms);
  }

  /** A head and one line for each thing that was recorded, in the order of their first times. */
  table(): readonly string[] {
    const rows = [...this.#all].map(([what, all]) => [
      what,
      String(all.length),
      ...[0.5, 0.99, 1].map((share) => String(Math.round(quantile(all, share)))),
    ]);
    return layOut([['milliseconds', 'count', 'p50', 'p99', 'max'], ...rows]);
  }
}

/** The smallest of the values that at least this share of all do not exceed (nearest rank). */
export function quantile(all: readonly number[], share: number): number {
  const sorted = [...all].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** Columns below each other: the first to the left, the others to the right. */
function layOut(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  );
}
