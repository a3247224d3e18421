/**
 * The stamp that each consumer leaves in every member's reserved area before the array turns writable (SPEC §7.11).
 * 4 KiB: a line of ASCII that says what it is, one line of JSON, a SHA-256 of that line, zeros.
 */
import { createHash } from 'node:crypto';
import type { Stamp } from '../api/layout.ts';
import { STAMP_SIZE_BYTES } from '../api/layout.ts';
import { isUuid } from '../support/uuid.ts';

const MAGIC = 'meshstor stamp 1';

function digestOf(line: string): string {
  return createHash('sha256').update(line, 'utf8').digest('hex');
}

export function encodeStamp(stamp: Stamp): Uint8Array {
  const line = JSON.stringify({ volumeUUID: stamp.volumeUUID, epoch: stamp.epoch, attachmentID: stamp.attachmentID });
  const block = Buffer.alloc(STAMP_SIZE_BYTES);
  block.write(`${MAGIC}\n${line}\n${digestOf(line)}\n`, 'utf8');
  return block;
}

/** Undefined when there is no stamp, or a torn or damaged one: that is the same as none, since a start writes it anew. */
export function parseStamp(block: Uint8Array): Stamp | undefined {
  const [magic, line, digest] = Buffer.from(block.buffer, block.byteOffset, block.byteLength)
    .toString('utf8')
    .split('\n');
  if (magic !== MAGIC || line === undefined || digest !== digestOf(line)) return undefined;
  const value: unknown = JSON.parse(line);
  return isStamp(value) ? value : undefined;
}

function isStamp(value: unknown): value is Stamp {
  if (typeof value !== 'object' || value === null) return false;
  const { volumeUUID, epoch, attachmentID } = value as Partial<Record<keyof Stamp, unknown>>;
  return (
    typeof volumeUUID === 'string' &&
    isUuid(volumeUUID) &&
    Number.isSafeInteger(epoch) &&
    typeof attachmentID === 'string' &&
    isUuid(attachmentID)
  );
}
