/** Texts of the command line and the environment as values. Each throws a `RuleError` that completes "must be …". */
import { isIP } from 'node:net';
import type { DriveSelector } from '../node/drive-policy.ts';
import type { LogLevel } from '../observability/log.ts';
import { LOG_LEVELS } from '../observability/log.ts';
import { RuleError } from './option-table.ts';

export interface HostPort {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface UnixEndpoint {
  readonly endpoint: string;
  readonly path: string;
}

/** Node cuts longer socket paths off without a word (at 107 bytes) and listens somewhere else. */
const SOCKET_PATH_MAX_BYTES = 100;

export function parseUnixEndpoint(text: string): UnixEndpoint {
  const path = /^unix:(?:\/\/)?(\/[^/].*[^/])$/.exec(text)?.[1];
  if (path === undefined) throw new RuleError('a Unix socket with an absolute path, e.g. unix:///csi/csi.sock');
  const bytes = Buffer.byteLength(path);
  if (bytes > SOCKET_PATH_MAX_BYTES) {
    throw new RuleError(`a socket path of at most ${SOCKET_PATH_MAX_BYTES} bytes (this one has ${bytes})`);
  }
  return { endpoint: text, path };
}

export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535 || (match?.[1] !== undefined && isIP(host) !== 6)) {
    throw new RuleError('HOST:PORT with a port from 0 to 65535, e.g. 0.0.0.0:9810 or [::]:9810');
  }
  return { host, port };
}

export function parseLogLevel(text: string): LogLevel {
  return parseOneOf(text, LOG_LEVELS);
}

export function parseOneOf<const T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((word) => word === text);
  if (found === undefined) throw new RuleError(`one of ${allowed.join(', ')}`);
  return found;
}

export function parseBoolean(text: string): boolean {
  if (text === 'true' || text === '1') return true;
  if (text === 'false' || text === '0') return false;
  throw new RuleError('true or false');
}

export function parseUuid(text: string): string {
  const uuid = text.toLowerCase();
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) throw new RuleError('a UUID');
  return uuid;
}

/** A day at most: what is wrong longer should be told. */
export function parseMinutes(text: string): number {
  const minutes = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || minutes < 1 || minutes > 1440) throw new RuleError('a whole number from 1 to 1440');
  return minutes;
}

/** MiB/s; 0 for none. */
export function parseSpeed(text: string): number {
  const speed = Number(text);
  if (!/^[0-9]{1,6}$/.test(text) || speed > 100_000) throw new RuleError('a whole number of MiB/s from 0 to 100000');
  return speed;
}

export function parseAbsolutePath(text: string): string {
  if (!text.startsWith('/') || text.includes('\0')) throw new RuleError('an absolute path');
  return text;
}

/** A name of Kubernetes or a file: anything but empty or blank. */
export function parseName(text: string): string {
  if (text.trim() === '' || text !== text.trim()) throw new RuleError('a name without blanks around it');
  return text;
}

const DNS_LABEL = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?';
const DNS_SUBDOMAIN = new RegExp(`^${DNS_LABEL}(?:\\.${DNS_LABEL})*$`);
/** RFC 1123, as Kubernetes checks names of nodes. */
const DNS_SUBDOMAIN_MAX = 253;

export function parseNodeName(text: string): string {
  if (text.length > DNS_SUBDOMAIN_MAX || !DNS_SUBDOMAIN.test(text)) {
    throw new RuleError(
      `a DNS subdomain name as Kubernetes gives its nodes: at most ${DNS_SUBDOMAIN_MAX} lower-case letters, digits, - and ., ` +
        'each part with a letter or digit at both ends',
    );
  }
  return text;
}

export function parseIpAddress(text: string): string {
  if (isIP(text) === 0) throw new RuleError('an IPv4 or IPv6 address');
  return text;
}

const SELECTOR_RULE = 'KEY=VALUE pairs separated by commas, with the keys model, serial, path, label/<key>';

interface SelectorParts {
  model?: string;
  serial?: string;
  path?: string;
  nodeLabels?: Record<string, string>;
}

/** `model=Samsung*,label/storage=fast`: all parts must match. Models may hold blanks, not commas. */
export function parseDriveSelector(text: string): DriveSelector {
  const selector: SelectorParts = {};
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    const key = part.slice(0, Math.max(at, 0)).trim();
    const value = part.slice(at + 1).trim();
    if (key === '' || value === '') throw new RuleError(SELECTOR_RULE);
    addPart(selector, key, value);
  }
  return selector;
}

function addPart(selector: SelectorParts, key: string, value: string): void {
  if (key === 'model' || key === 'serial' || key === 'path') {
    if (selector[key] !== undefined) throw new RuleError(`${SELECTOR_RULE}, each at most once (${key} is given twice)`);
    if (key === 'path' && !value.startsWith('/')) throw new RuleError(`${SELECTOR_RULE}; path starts with /`);
    selector[key] = value;
    return;
  }
  if (!key.startsWith('label/') || key === 'label/') throw new RuleError(`${SELECTOR_RULE} (not ${key})`);
  selector.nodeLabels = { ...selector.nodeLabels, [key.slice('label/'.length)]: value };
}
