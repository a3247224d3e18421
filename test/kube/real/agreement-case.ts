import { volume, VOLUMES } from '../contract/server.ts';
import type { Send } from './agreement.ts';

/** What is tried, and the requests for it, one after the other. */
export type Case = readonly [rule: string, run: (send: Send) => Promise<unknown>];

/** What cases read of an answer. */
export interface Stored {
  readonly metadata: { readonly resourceVersion: string; readonly uid: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

export const MERGE = { contentType: 'application/merge-patch+json' };
export const STEPS = { contentType: 'application/json-patch+json' };
export const UUID = '6b1e0e3a-5f57-4f0c-9a43-0d7d5a3b9c11';
let counter = 0;

/** One name for both servers. */
export function named(
  run: (send: Send, path: string, name: string) => Promise<unknown>,
): (send: Send) => Promise<unknown> {
  counter += 1;
  const name = `agree-${counter}`;
  return (send) => run(send, `${VOLUMES}/${name}`, name);
}

/** Creates a volume first and hands it on. */
export function withVolume(
  run: (send: Send, path: string, made: Stored) => Promise<unknown>,
  meta: Record<string, unknown> = {},
): (send: Send) => Promise<unknown> {
  return named(async (send, path, name) => {
    const { body } = await send('POST', VOLUMES, volume(name, { volumeUUID: UUID }, meta));
    await run(send, path, body as Stored);
  });
}
