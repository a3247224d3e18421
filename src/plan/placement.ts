/** Where a volume's partitions go: a pure function of the inventory, with a reason for every node that is left out (SPEC §6). */
import { DATA_OFFSET_BYTES, PARTITION_ALIGNMENT_BYTES, SMALLEST_VOLUME_BYTES } from '../api/layout.ts';
import type { SectorSize } from '../api/volume.ts';
import { formatBytes, roundDown } from '../support/units.ts';
import { hashHex } from '../support/uuid.ts';
import { sortedBy } from './view.ts';

export interface DriveSeen {
  readonly node: string;
  readonly device: string;
  readonly serial: string;
  readonly nsid?: number;
  readonly sectorSize: number;
  /** Largest extent in one piece. */
  readonly biggestFreeBytes: number;
  readonly freeBytes: number;
  /** By the observer's own clock. */
  readonly heartbeatAgeMs: number;
  /** Allowed, with a good table (SPEC §7.15). */
  readonly usable: boolean;
  readonly unusableReason: string;
  /** The node takes new storage: not cordoned. */
  readonly schedulable: boolean;
  readonly rdma: boolean;
  /** Measured; lower is better. Absent: not measured, counted last. */
  readonly latencyClass?: number;
  /** Partitions of volumes that are on it. */
  readonly members?: number;
}

export interface Member {
  readonly slot: number;
  readonly node: string;
  readonly device: string;
  /** With the node it names the drive: no two members are on one, whatever their namespaces. */
  readonly serial: string;
  readonly nsid?: number;
}

export interface PlacementShape {
  readonly numberOfCopies: number;
  readonly drivesPerCopy: number;
  readonly sectorSize: SectorSize | 'auto';
  /** The node that will use the volume, when it is known. */
  readonly consumer?: string;
  readonly excludeNodes?: readonly string[];
  /** What is left out besides, and why. */
  readonly avoid?: readonly Avoided[];
}

/** A node, or one drive of it. */
export interface Avoided {
  readonly node: string;
  readonly serial?: string;
  readonly reason: string;
}

export interface PlacementRequest extends PlacementShape {
  readonly volumeUUID: string;
  readonly capacityBytes: number;
  readonly partitionBytes: number;
  /** Members that are placed already and stay: only the other slots are placed. The volume's sector size is then given. */
  readonly keep?: readonly Member[];
  /** Only these of the slots that are not kept. Default: all of them. */
  readonly slots?: readonly number[];
}

export interface Rejected {
  readonly node: string;
  readonly reason: string;
}

export type Placement =
  | {
      readonly ok: true;
      readonly sectorSize: SectorSize;
      /** The new ones, by slot. */
      readonly members: readonly Member[];
      /** For people: the consumer holds no copy, and why. */
      readonly notes: readonly string[];
      readonly rejected: readonly Rejected[];
    }
  | { readonly ok: false; readonly rejected: readonly Rejected[]; readonly message: string };

/** SPEC §6: an older heartbeat and the node is skipped. */
export const STALE_HEARTBEAT_MS = 60_000;

interface NodeView {
  readonly node: string;
  readonly drives: readonly DriveSeen[];
}

type Verdict =
  { readonly ok: true; readonly drives: readonly DriveSeen[] } | { readonly ok: false; readonly reason: string };

function nodesOf(inventory: readonly DriveSeen[]): readonly NodeView[] {
  const names = [...new Set(inventory.map(({ node }) => node))].sort();
  return names.map((node) => ({
    node,
    drives: sortedBy(
      sortedBy(
        inventory.filter((drive) => drive.node === node),
        ({ serial }) => serial,
      ),
      ({ device }) => device,
    ),
  }));
}

/** Why this drive cannot take a partition; undefined when it can. */
function driveReason(drive: DriveSeen, sectorSize: SectorSize, partitionBytes: number): string | undefined {
  if (!drive.usable) return `not allowed: ${drive.unusableReason}`;
  if (drive.heartbeatAgeMs > STALE_HEARTBEAT_MS)
    return `last heartbeat ${Math.round(drive.heartbeatAgeMs / 1000)} s ago, at most 60 s`;
  if (drive.sectorSize !== sectorSize) return `sector size ${drive.sectorSize}, needed ${sectorSize}`;
  if (drive.biggestFreeBytes < partitionBytes) {
    return `${formatBytes(drive.biggestFreeBytes)} free in one piece, needed ${formatBytes(partitionBytes)}`;
  }
  return undefined;
}

interface Search {
  readonly shape: PlacementShape;
  readonly sectorSize: SectorSize;
  readonly partitionBytes: number;
  readonly drivesNeeded: number;
}

/** The first namespace of each drive of one node. Namespaces with one serial number are on one drive: they fail together. */
function firstOfEach(namespaces: readonly DriveSeen[]): readonly DriveSeen[] {
  return namespaces.filter(({ serial }, index) => namespaces.findIndex((other) => other.serial === serial) === index);
}

/** What says so of a namespace that would do, if another one of its drive did not. */
function siblingReasons(fit: readonly DriveSeen[]): readonly string[] {
  const first = firstOfEach(fit);
  return fit.flatMap((drive) => {
    const other = first.find(({ serial }) => serial === drive.serial) ?? drive;
    return other === drive ? [] : [`${drive.device}: another namespace of the drive of ${other.device}`];
  });
}

/** Namespaces of one node that can take a partition; of at least as many drives as a copy has. */
function judgeNode(view: NodeView, search: Search, takenSerials: ReadonlySet<string>): Verdict {
  const { shape, sectorSize, partitionBytes, drivesNeeded } = search;
  if (shape.excludeNodes?.includes(view.node) === true) return { ok: false, reason: 'excluded by the request' };
  const avoided = (shape.avoid ?? []).filter(({ node }) => node === view.node);
  const whole = avoided.find(({ serial }) => serial === undefined);
  if (whole !== undefined) return { ok: false, reason: whole.reason };
  if (view.drives.some(({ schedulable }) => !schedulable))
    return { ok: false, reason: 'cordoned: it takes no new storage' };
  const reasons: string[] = [];
  const fit: DriveSeen[] = [];
  for (const drive of view.drives) {
    const isTaken = takenSerials.has(drive.serial);
    const reason = isTaken
      ? 'has a member of this volume already'
      : (avoided.find(({ serial }) => serial === drive.serial)?.reason ??
        driveReason(drive, sectorSize, partitionBytes));
    if (reason === undefined) fit.push(drive);
    else reasons.push(`${drive.device}: ${reason}`);
  }
  const fitting = firstOfEach(fit).length;
  if (fitting >= drivesNeeded) return { ok: true, drives: fit };
  const count = `${fitting} of ${drivesNeeded} drives fit`;
  return { ok: false, reason: [...(drivesNeeded > 1 ? [count] : []), ...reasons, ...siblingReasons(fit)].join('; ') };
}

interface Candidate {
  readonly node: string;
  readonly drives: readonly DriveSeen[];
}

/** Smaller is better, the first difference decides. */
type Rank = readonly (number | string)[];

function compareRanks(a: Rank, b: Rank): number {
  for (const [index, x] of a.entries()) {
    const y = b[index];
    if (y !== undefined && x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** SPEC §6: consumer, RDMA, latency class, free space, fewest members; then a hash of the volume and the node. */
function rankNode(candidate: Candidate, request: PlacementRequest, consumerHasRdma: boolean): Rank {
  const { drives, node } = candidate;
  const latency = Math.min(...drives.map(({ latencyClass }) => latencyClass ?? Number.MAX_SAFE_INTEGER));
  return [
    node === request.consumer ? 0 : 1,
    consumerHasRdma && drives.some(({ rdma }) => rdma) ? 0 : 1,
    latency,
    -sum(drives.map(({ freeBytes }) => freeBytes)),
    sum(drives.map(({ members }) => members ?? 0)),
    hashHex(`${request.volumeUUID}/${node}`, 16),
    node,
  ];
}

function rankDrive(drive: DriveSeen, request: PlacementRequest): Rank {
  return [
    drive.latencyClass ?? Number.MAX_SAFE_INTEGER,
    -drive.freeBytes,
    drive.members ?? 0,
    hashHex(`${request.volumeUUID}/${drive.node}/${drive.serial}`, 16),
    drive.device,
  ];
}

interface Found {
  readonly members: readonly Member[];
  readonly rejected: readonly Rejected[];
  /** How many copies found no node. */
  readonly unplaced: number;
}

/** Slots of one copy, one in each column (SPEC §3: all of a copy on one node). */
function slotsOfCopy(request: PlacementRequest, copy: number): readonly number[] {
  return Array.from({ length: request.drivesPerCopy }, (_, column) => column * request.numberOfCopies + copy);
}

function pickDrives(candidate: Candidate, slots: readonly number[], request: PlacementRequest): readonly Member[] {
  const ranked = [...candidate.drives].sort((a, b) => compareRanks(rankDrive(a, request), rankDrive(b, request)));
  const drives = firstOfEach(ranked);
  return slots.flatMap((slot, index) => {
    const drive = drives[index];
    if (drive === undefined) return [];
    const { node, device, serial, nsid } = drive;
    return [{ slot, node, device, serial, ...(nsid === undefined ? {} : { nsid }) }];
  });
}

interface CopyToPlace {
  readonly slots: readonly number[];
  /** Other drives of this copy are there already. */
  readonly onNode?: string;
}

function copiesToPlace(request: PlacementRequest): readonly CopyToPlace[] {
  const keep = request.keep ?? [];
  return Array.from({ length: request.numberOfCopies }, (_, copy) => slotsOfCopy(request, copy)).flatMap((all) => {
    const isMeant = (slot: number): boolean => request.slots?.includes(slot) !== false;
    const slots = all.filter((slot) => isMeant(slot) && !keep.some((member) => member.slot === slot));
    const onNode = keep.find((member) => all.includes(member.slot))?.node;
    if (slots.length === 0) return [];
    return [onNode === undefined ? { slots } : { slots, onNode }];
  });
}

/** Tries one sector size. */
function search(request: PlacementRequest, nodes: readonly NodeView[], sectorSize: SectorSize): Found {
  const keep = request.keep ?? [];
  const takenOn = (name: string): ReadonlySet<string> =>
    new Set(keep.filter(({ node }) => node === name).map(({ serial }) => serial));
  const takenNodes = new Set(keep.map(({ node }) => node));
  const rejected: Rejected[] = [];
  const members: Member[] = [];
  let unplaced = 0;
  const { partitionBytes } = request;
  const judge = (view: NodeView, drivesNeeded: number): Verdict =>
    judgeNode(view, { shape: request, sectorSize, partitionBytes, drivesNeeded }, takenOn(view.node));
  const copies = copiesToPlace(request);
  for (const { slots, onNode } of copies.filter((copy) => copy.onNode !== undefined)) {
    const view = nodes.find(({ node }) => node === onNode);
    const verdict: Verdict =
      view === undefined ? { ok: false, reason: 'no drive of it is known' } : judge(view, slots.length);
    if (verdict.ok) members.push(...pickDrives({ node: onNode ?? '', drives: verdict.drives }, slots, request));
    else {
      rejected.push({ node: onNode ?? '', reason: verdict.reason });
      unplaced += 1;
    }
  }
  const free = copies.filter((copy) => copy.onNode === undefined);
  const candidates: Candidate[] = [];
  for (const view of free.length === 0 ? [] : nodes) {
    const verdict: Verdict = takenNodes.has(view.node)
      ? { ok: false, reason: 'holds another copy of this volume' }
      : judge(view, request.drivesPerCopy);
    if (verdict.ok) candidates.push({ node: view.node, drives: verdict.drives });
    else rejected.push({ node: view.node, reason: verdict.reason });
  }
  const consumerDrives = nodes.find(({ node }) => node === request.consumer)?.drives;
  const consumerHasRdma = consumerDrives === undefined || consumerDrives.some(({ rdma }) => rdma);
  candidates.sort((a, b) => compareRanks(rankNode(a, request, consumerHasRdma), rankNode(b, request, consumerHasRdma)));
  for (const [index, { slots }] of free.entries()) {
    const candidate = candidates[index];
    if (candidate === undefined) unplaced += 1;
    else members.push(...pickDrives(candidate, slots, request));
  }
  return { members: sortedBy(members, ({ slot }) => slot), rejected, unplaced };
}

const sizesFor = (sectorSize: SectorSize | 'auto'): readonly SectorSize[] =>
  sectorSize === 'auto' ? [4096, 512] : [sectorSize];

/** Why the consumer gets no copy, when one would have been wanted there. */
function consumerNotes(request: PlacementRequest, found: Found): readonly string[] {
  const { consumer } = request;
  if (consumer === undefined || [...found.members, ...(request.keep ?? [])].some(({ node }) => node === consumer))
    return [];
  const reason = found.rejected.find(({ node }) => node === consumer)?.reason ?? 'no drive of it is known';
  return [`no copy on the consumer ${consumer}, its pods pay network latency: ${reason}`];
}

function failure(request: PlacementRequest, tries: readonly { sectorSize: SectorSize; found: Found }[]): Placement {
  const best = tries.reduce((a, b) => (b.found.unplaced < a.found.unplaced ? b : a));
  const nodes = [...new Set(best.found.rejected.map(({ node }) => node))].sort();
  const reasonIn = (node: string, found: Found): string =>
    found.rejected.find((entry) => entry.node === node)?.reason ?? 'fits';
  const rejected = nodes.map((node) => {
    const reasons = tries.map(({ sectorSize, found }) => ({ sectorSize, reason: reasonIn(node, found) }));
    const isSame = reasons.every(({ reason }) => reason === reasons[0]?.reason);
    const first = reasons[0]?.reason ?? '';
    return {
      node,
      reason: isSame ? first : reasons.map(({ sectorSize, reason }) => `as ${sectorSize}: ${reason}`).join(' | '),
    };
  });
  const { numberOfCopies, drivesPerCopy } = request;
  const asked = `${numberOfCopies} ${numberOfCopies === 1 ? 'copy' : 'copies'} of ${drivesPerCopy} ${drivesPerCopy === 1 ? 'drive' : 'drives'}, ${formatBytes(request.partitionBytes)} on each`;
  const short = `${best.found.unplaced} ${best.found.unplaced === 1 ? 'copy has' : 'copies have'} no node`;
  const why =
    rejected.length === 0 ? 'no node has a drive' : rejected.map(({ node, reason }) => `${node}: ${reason}`).join('; ');
  return { ok: false, rejected, message: `no place for ${asked}: ${short} (${why})` };
}

/**
 * Places every copy on its own node, all members with one sector size. `auto` takes the size that gives the consumer its copy,
 * 4096 where both do or neither.
 */
export function placeVolume(request: PlacementRequest, inventory: readonly DriveSeen[]): Placement {
  const nodes = nodesOf(inventory);
  const tries = sizesFor(request.sectorSize).map((sectorSize) => ({
    sectorSize,
    found: search(request, nodes, sectorSize),
  }));
  const whole = tries.filter(({ found }) => found.unplaced === 0);
  const chosen = whole.find(({ found }) => consumerNotes(request, found).length === 0) ?? whole[0];
  if (chosen === undefined) return failure(request, tries);
  const { sectorSize, found } = chosen;
  return {
    ok: true,
    sectorSize,
    members: found.members,
    notes: consumerNotes(request, found),
    rejected: found.rejected,
  };
}

function largestPartition(shape: PlacementShape, nodes: readonly NodeView[], sectorSize: SectorSize): number {
  const perNode = nodes.flatMap((view) => {
    const verdict = judgeNode(
      view,
      { shape, sectorSize, partitionBytes: 0, drivesNeeded: shape.drivesPerCopy },
      new Set(),
    );
    if (!verdict.ok) return [];
    const largest = firstOfEach([...verdict.drives].sort((a, b) => b.biggestFreeBytes - a.biggestFreeBytes));
    return [largest[shape.drivesPerCopy - 1]?.biggestFreeBytes ?? 0];
  });
  return perNode.sort((a, b) => b - a)[shape.numberOfCopies - 1] ?? 0;
}

/** Capacity of the largest volume of that shape that could be placed now; 0 when not even the smallest could. */
export function largestPlaceable(shape: PlacementShape, inventory: readonly DriveSeen[]): number {
  const nodes = nodesOf(inventory);
  const partition = Math.max(
    ...sizesFor(shape.sectorSize).map((sectorSize) => largestPartition(shape, nodes, sectorSize)),
  );
  const data = roundDown(partition - DATA_OFFSET_BYTES, PARTITION_ALIGNMENT_BYTES);
  const capacity = data * shape.drivesPerCopy;
  return capacity < SMALLEST_VOLUME_BYTES ? 0 : capacity;
}
