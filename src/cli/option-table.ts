/** Reads options that are described by a table, from the command line first, then the environment, then the default. */

/** A wrong command line or environment: one line for the person who wrote it; the program exits with code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

export interface OptionSpec {
  /** As commander takes it: `--name <value>`, `--name [true|false]`, `-o, --output <format>`. */
  readonly flag: string;
  /** Environment variables, the first that is set and not empty counts. */
  readonly env: readonly string[];
  readonly help: string;
  /** Heading in the help text. */
  readonly group: string;
  readonly default?: string;
  /** May be given several times; the values make a list. */
  readonly repeatable?: true;
  readonly hidden?: true;
  /** Returns the value, or throws a `RuleError`. */
  readonly parse: (text: string) => unknown;
}

/** What a value breaks: completes the sentence "… must be <rule>". */
export class RuleError extends Error {
  constructor(rule: string) {
    super(rule);
    this.name = 'RuleError';
  }
}

type Parsed<S extends OptionSpec> = S extends { repeatable: true } ? ReturnType<S['parse']>[] : ReturnType<S['parse']>;
export type OptionValues<T extends Record<string, OptionSpec>> = {
  readonly [K in keyof T]?: Parsed<T[K]> | undefined;
};

/** The long name: `--csi-endpoint`. */
export function longName(spec: OptionSpec): string {
  return /--[a-z-]+/.exec(spec.flag)?.[0] ?? spec.flag;
}

interface Source {
  /** For the complaint: `option --lock-file` or `environment variable MESHSTOR_LOCK_FILE`. */
  readonly name: string;
  readonly texts: readonly string[];
}

function textsOf(given: unknown): readonly string[] {
  if (Array.isArray(given)) return given.map(String);
  return [String(given)];
}

function findSource(
  key: string,
  spec: OptionSpec,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Source | undefined {
  const given = flags[key];
  if (given !== undefined) return { name: `option ${longName(spec)}`, texts: textsOf(given) };
  for (const name of spec.env) {
    const text = env[name];
    if (text === undefined || text === '') continue;
    const texts = spec.repeatable === true ? text.split(';').filter((part) => part.trim() !== '') : [text];
    return { name: `environment variable ${name}`, texts };
  }
  if (spec.default !== undefined) return { name: `default of ${longName(spec)}`, texts: [spec.default] };
  return undefined;
}

function parseText(spec: OptionSpec, source: Source, text: string): unknown {
  try {
    return spec.parse(text);
  } catch (error: unknown) {
    if (!(error instanceof RuleError)) throw error;
    throw new UsageError(`${source.name}: ${JSON.stringify(text)} must be ${error.message}`);
  }
}

/** Every option's value, or undefined where nothing was said and there is no default. Throws `UsageError` on the first bad one. */
export function readOptions<const T extends Record<string, OptionSpec>>(
  table: T,
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): OptionValues<T> {
  const values: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(table)) {
    const source = findSource(key, spec, flags, env);
    if (source === undefined) continue;
    const parsed = source.texts.map((text) => parseText(spec, source, text));
    values[key] = spec.repeatable === true ? parsed : parsed.at(-1);
  }
  // Each key was parsed by its own row, which is what the type says.
  return values as OptionValues<T>;
}
