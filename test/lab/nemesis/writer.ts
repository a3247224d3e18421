/**
 * Runs in a guest in the pod's place: reads all records of a file, says what it found, and writes new ones, each with fsync.
 *
 *   node writer.mjs FILE VOLUME WRITER PAUSE_MS      writes until it is ended; PAUSE_MS lie between two records
 *   node writer.mjs FILE VOLUME WRITER               reads only
 *
 * It prints `found {…}` once, then `written N` after fsync has returned for record N, and `error N CODE` when it has not. After an
 * error it tries the same record again, as a database that does not look at its errors would.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { RECORD_BYTES, encodeRecord, readRecords } from './records.ts';

const ERROR_PAUSE_MS = 250;

const [file = '', volume = '', writer = '', pause] = process.argv.slice(2);
const print = (line: string): void => void writeSync(1, `${line}\n`);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function contents(fd: number): Buffer {
  const data = Buffer.alloc(fstatSync(fd).size);
  let filled = 0;
  while (filled < data.length) {
    const count = readSync(fd, data, filled, data.length - filled, filled);
    if (count === 0) break;
    filled += count;
  }
  return data.subarray(0, filled);
}

function syncFolder(): void {
  const fd = openSync(dirname(file), 'r');
  fsyncSync(fd);
  closeSync(fd);
}

const fd = openSync(file, pause === undefined ? 'r' : 'a+');
if (fstatSync(fd).dev === statSync(join(dirname(file), '..')).dev) {
  print('the volume is not mounted');
  process.exit(3);
}
const data = contents(fd);
print(`found ${JSON.stringify(readRecords(data, volume))}`);
if (pause !== undefined) {
  closeSync(fd);
  // Not for appending: a record that failed is written again at its own place.
  const out = openSync(file, 'r+');
  syncFolder();
  let position = Math.ceil(data.length / RECORD_BYTES) * RECORD_BYTES;
  for (let number = 1; ;) {
    const record = encodeRecord({ volume, writer, number, timeMs: Date.now() });
    try {
      writeSync(out, record, 0, RECORD_BYTES, position);
      fsyncSync(out);
      print(`written ${number}`);
      position += RECORD_BYTES;
      number += 1;
      await sleep(Number(pause));
    } catch (error) {
      print(`error ${number} ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
      await sleep(ERROR_PAUSE_MS);
    }
  }
}
