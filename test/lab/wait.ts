import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Repeats a question until the answer is as wanted and returns it, without surrounding space. Rejects with the last answer
 * when the time is over.
 */
export async function until(
  what: string,
  limitMs: number,
  ask: () => Promise<string>,
  wanted: RegExp,
): Promise<string> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const answer = (await ask()).trim();
    if (wanted.test(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: still "${answer}" after ${limitMs} ms`);
    await sleep(300);
  }
}
