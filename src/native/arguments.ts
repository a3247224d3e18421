import { isIP } from 'node:net';

import type {
  DmTarget,
  Extent,
  NewGptPartition,
  NvmeConnectOptions,
  NvmetExportWanted,
  NvmetPortWanted,
} from '../api/kernel.ts';
import { describeValue } from './check.ts';

/** Paths that reach a system call end before PATH_MAX. */
const PATH_LIMIT = 4096;
/** An attribute of sysfs or configfs takes one page at most. */
const PAGE_LIMIT = 4096;
const NQN_LIMIT = 223;
const GUID = /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Checks arguments one by one; the first bad one throws a `TypeError` whose message names it. */
export function mustBe(isRight: boolean, name: string, wanted: string, value: unknown): void {
  if (!isRight) throw new TypeError(`Expected "${name}" to be ${wanted}, got ${describeValue(value)}`);
}

function checkObject(name: string, value: unknown): void {
  mustBe(typeof value === 'object' && value !== null, name, 'an object', value);
}

export function checkPath(name: string, value: string): void {
  const isRight = typeof value === 'string' && value.startsWith('/') && !value.includes('\0');
  mustBe(isRight, name, 'an absolute path', value);
  mustBe(Buffer.byteLength(value) < PATH_LIMIT, name, `a path of less than ${String(PATH_LIMIT)} bytes`, value);
}

export function checkCount(name: string, value: number): void {
  mustBe(Number.isSafeInteger(value) && value >= 0, name, 'a safe integer of at least 0', value);
}

export function checkInRange(name: string, value: number, low: number, high: number): void {
  const isRight = Number.isSafeInteger(value) && value >= low && value <= high;
  mustBe(isRight, name, `an integer from ${String(low)} to ${String(high)}`, value);
}

export function checkOneOf(name: string, value: string, words: readonly string[]): void {
  mustBe(words.includes(value), name, `one of ${words.join(', ')}`, value);
}

/** Kernel names (`md127`, `dm-3`, `nvme0n1p1`): one path component. */
export function checkKernelName(name: string, value: string): void {
  const isRight = typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9_.!-]{0,63}$/.test(value);
  mustBe(isRight, name, 'a kernel device name', value);
}

/** Text for one attribute or ioctl string. */
export function checkText(name: string, value: string): void {
  const isRight = typeof value === 'string' && !value.includes('\0') && Buffer.byteLength(value) < PAGE_LIMIT;
  mustBe(isRight, name, `text without NUL of less than ${String(PAGE_LIMIT)} bytes`, value);
}

export function checkWord(name: string, value: string): void {
  mustBe(typeof value === 'string' && /^[-a-z_]{1,64}$/.test(value), name, 'one lower-case word', value);
}

export function checkGuid(name: string, value: string): void {
  mustBe(typeof value === 'string' && GUID.test(value), name, 'a GUID', value);
}

/** NQNs name configfs directories and stand in comma-separated option strings: neither separator may appear. */
export function checkNqn(name: string, value: string): void {
  const isRight = typeof value === 'string' && /^nqn\.[\x21-\x7e]+$/.test(value) && !/[,/]/.test(value);
  mustBe(isRight && value.length <= NQN_LIMIT, name, 'an NQN without comma, slash or space', value);
}

export function checkExtent(range: Extent): void {
  checkObject('range', range);
  checkCount('range.startBytes', range.startBytes);
  checkCount('range.sizeBytes', range.sizeBytes);
  checkCount('range.startBytes + range.sizeBytes', range.startBytes + range.sizeBytes);
}

export function checkNewPartition(partition: NewGptPartition): void {
  checkObject('partition', partition);
  checkGuid('partition.typeGuid', partition.typeGuid);
  checkGuid('partition.partitionGuid', partition.partitionGuid);
  const isName = typeof partition.name === 'string' && partition.name.length <= 36 && !partition.name.includes('\0');
  mustBe(isName, 'partition.name', 'at most 36 UTF-16 units', partition.name);
  checkCount('partition.startBytes', partition.startBytes);
  checkInRange('partition.sizeBytes', partition.sizeBytes, 1, Number.MAX_SAFE_INTEGER);
}

export function checkDmName(name: string, value: string): void {
  const isRight = typeof value === 'string' && /^[\x21-\x7e]+$/.test(value) && !value.includes('/');
  mustBe(isRight && value.length < 128, name, 'a device-mapper name of less than 128 bytes', value);
}

export function checkDmUuid(name: string, value: string): void {
  mustBe(typeof value === 'string' && /^[\x21-\x7e]{0,128}$/.test(value), name, 'a device-mapper uuid', value);
}

export function checkDmTable(table: readonly DmTarget[]): void {
  mustBe(Array.isArray(table) && table.length > 0, 'table', 'a list of at least one target', table);
  let next = 0;
  for (const [index, target] of table.entries()) {
    const at = `table[${String(index)}]`;
    mustBe(
      target.startSectors === next,
      `${at}.startSectors`,
      `${String(next)} (no gap, no overlap)`,
      target.startSectors,
    );
    checkInRange(`${at}.lengthSectors`, target.lengthSectors, 1, Number.MAX_SAFE_INTEGER);
    mustBe(/^[a-z][a-z0-9_-]{0,14}$/.test(target.type), `${at}.type`, 'a target type', target.type);
    checkText(`${at}.params`, target.params);
    next += target.lengthSectors;
  }
}

export function checkPort(port: NvmetPortWanted): void {
  checkObject('port', port);
  checkInRange('port.id', port.id, 1, 65535);
  checkOneOf('port.trtype', port.trtype, ['tcp', 'rdma']);
  checkAddress('port', port.traddr, port.trsvcid);
}

export function checkExport(wanted: NvmetExportWanted): void {
  checkObject('wanted', wanted);
  checkNqn('wanted.nqn', wanted.nqn);
  checkNqn('wanted.hostNqn', wanted.hostNqn);
  checkInRange('wanted.nsid', wanted.nsid, 1, 0xffff_fffe);
  checkPath('wanted.devicePath', wanted.devicePath);
  mustBe(typeof wanted.uuid === 'string' && UUID.test(wanted.uuid), 'wanted.uuid', 'a lower-case UUID', wanted.uuid);
  mustBe(
    Array.isArray(wanted.portIds) && wanted.portIds.length > 0,
    'wanted.portIds',
    'a list of ports',
    wanted.portIds,
  );
  for (const id of wanted.portIds) checkInRange('wanted.portIds', id, 1, 65535);
}

export function checkConnect(options: NvmeConnectOptions): void {
  checkObject('options', options);
  checkOneOf('options.transport', options.transport, ['tcp', 'rdma']);
  checkAddress('options', options.traddr, options.trsvcid);
  checkNqn('options.nqn', options.nqn);
  checkNqn('options.hostNqn', options.hostNqn);
  mustBe(
    typeof options.hostId === 'string' && UUID.test(options.hostId),
    'options.hostId',
    'a lower-case UUID',
    options.hostId,
  );
  checkInRange('options.keepAliveTmoSec', options.keepAliveTmoSec, 0, 3600);
  checkInRange('options.fastIoFailTmoSec', options.fastIoFailTmoSec, 0, 3600);
  checkInRange('options.ctrlLossTmoSec', options.ctrlLossTmoSec, 0, 86_400);
  checkInRange('options.reconnectDelaySec', options.reconnectDelaySec, 1, 3600);
  checkInRange('options.nrIoQueues', options.nrIoQueues, 1, 4096);
}

function checkAddress(name: string, traddr: string, trsvcid: string): void {
  const isAddress = typeof traddr === 'string' && isIP(traddr) !== 0;
  mustBe(isAddress, `${name}.traddr`, 'an IPv4 or IPv6 address', traddr);
  const isService = typeof trsvcid === 'string' && /^[1-9]\d{0,4}$/.test(trsvcid) && Number(trsvcid) <= 65535;
  mustBe(isService, `${name}.trsvcid`, 'a port number from 1 to 65535', trsvcid);
}
