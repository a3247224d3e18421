import { createHash, randomUUID } from 'node:crypto';

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether the text is a UUID in lower case with dashes. */
export function isUuid(text: string): boolean {
  return UUID_PATTERN.test(text);
}

/** Name-based UUID, version 5 (RFC 9562 §5.5): SHA-1 of the namespace's 16 bytes followed by the name in UTF-8. Lower case. */
export function uuidV5(namespace: string, name: string): string {
  if (!isUuid(namespace))
    throw new TypeError(`Expected "namespace" to be a lower-case UUID, got ${JSON.stringify(namespace)}`);
  const digest = createHash('sha1')
    .update(Buffer.from(namespace.replaceAll('-', ''), 'hex'))
    .update(name, 'utf8')
    .digest()
    .subarray(0, 16);
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x50, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = digest.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** A fresh random UUID, version 4. */
export function randomUuid(): string {
  return randomUUID();
}

/** First `length` hex digits of the SHA-256 of the text. */
export function hashHex(text: string, length: number): string {
  return createHash('sha256').update(text, 'utf8').digest('hex').slice(0, length);
}
