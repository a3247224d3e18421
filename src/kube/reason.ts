import { errnoCode } from '../api/errors.ts';

/** Longest text that is passed on. */
const REASON_LIMIT = 300;
/** What follows these words is nobody's business. */
const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/\b(bearer|basic)\s+\S+/gi, '$1 ***'],
  [/((?:token|password|passwd|secret|key|assertion|authorization)["']?\s*[:=]\s*)["']?[^\s"',;]+/gi, '$1***'],
  [/\/\/[^/\s@]+@/g, '//***@'],
];
/** So long that they may be a token themselves, unless they are names made of a UUID: volumes, legs. */
const LONG_WORDS = /[A-Za-z0-9_+=-]{24,}/g;
const UUID_NAME = /^(?:[a-z]{1,10}-){0,2}[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:-[0-9]{1,10})?$/;

/** Name, code and first line of what went wrong, without anything that may be a secret. */
export function reasonOf(error: unknown): string {
  // The parser quotes what it was given, and that may be an answer with a token.
  if (error instanceof SyntaxError) return 'what came is no JSON';
  const text = error instanceof Error ? error.message : String(error);
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? 'failed without a word';
  const scrubbed = SECRETS.reduce((left, [secret, word]) => left.replace(secret, word), line.trim());
  const shown = scrubbed.replace(LONG_WORDS, (word) => (UUID_NAME.test(word) ? word : '***'));
  const code = errnoCode(error);
  const head = [error instanceof Error ? error.name : typeof error, ...(code === undefined ? [] : [code])].join(' ');
  return `${head}: ${shown.slice(0, REASON_LIMIT)}`;
}

/** What lies behind an error, as a field for the log; none when nothing does. */
export function causeField(error: unknown): { readonly cause?: string } {
  return error instanceof Error && error.cause !== undefined ? { cause: reasonOf(error.cause) } : {};
}
