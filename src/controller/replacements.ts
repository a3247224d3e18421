/**
 * Members of born volumes that are out for good get others in their place (SPEC §8). What is decided is in plan/replacement.ts; here are
 * the time for which members are missing, on this process's own clock since it saw it first, and the placement.
 */
import { findCondition, removeCondition, setCondition } from '../api/conditions.ts';
import { DomainError } from '../api/errors.ts';
import { isSameDrive } from '../api/node-device.ts';
import type { MeshStorVolume, PartitionStatus, VolumeStatus } from '../api/volume.ts';
import { EMPTY_STATUS } from '../api/volume.ts';
import { deriveStatus, nextGeneration } from '../plan/lifecycle.ts';
import { PLACED_CONDITION } from '../plan/records.ts';
import type { OpenCopy, OutSeen, Surplus } from '../plan/replacement.ts';
import { isOutCounted, openCopies, recordReplacement, recordSurplus, surplusMembers } from '../plan/replacement.ts';
import type { Heartbeats } from './heartbeats.ts';
import { HEARTBEAT_LIMIT_MS } from './heartbeats.ts';
import type { ControllerParts } from './parts.ts';
import { isWitnessBehind } from '../plan/view.ts';
import { aboutVolume, isBeingDeleted, timestamp } from './parts.ts';
import type { Placer, PlacementPlan } from './placer.ts';
import type { RefusedNodes } from './refused-nodes.ts';

/** Silence, and room that comes free, make no event. */
const LOOK_AGAIN_MS = 10_000;

const memberName = ({ slot, nodeID, device }: PartitionStatus): string => `member ${slot} on ${nodeID}/${device}`;

/** Ages grow by themselves: a reason that differs in them alone is the same. */
const withoutAges = (message: string): string => message.replace(/\d+ s ago/g, 's ago');

export class Replacements {
  readonly #parts: ControllerParts;
  readonly #heartbeats: Heartbeats;
  readonly #placer: Placer;
  readonly #refused: RefusedNodes;
  readonly #monotonicMs: () => number;
  /** By volume and PARTUUID: since when members have counted as missing. Lost with the process: then they count anew. */
  readonly #outSince = new Map<string, ReadonlyMap<string, number>>();

  constructor(parts: ControllerParts, heartbeats: Heartbeats, placer: Placer, refused: RefusedNodes) {
    this.#parts = parts;
    this.#heartbeats = heartbeats;
    this.#placer = placer;
    this.#refused = refused;
    this.#monotonicMs = parts.monotonicMs ?? (() => performance.now());
  }

  forget(name: string): void {
    this.#outSince.delete(name);
  }

  /** One look at a volume. Says when to look again while something is out. */
  async look(volume: MeshStorVolume): Promise<{ readonly requeueAfterMs?: number }> {
    const { name } = volume.metadata;
    // An object that is older than the data says nothing of who is out.
    if (isBeingDeleted(volume) || isWitnessBehind(volume)) {
      this.forget(name);
      return {};
    }
    this.#count(volume);
    const seen = this.#seen(volume);
    let current = await this.#dropSurplus(volume, seen);
    const tried = new Set<string>();
    for (;;) {
      const copy = openCopies(current, seen).find(({ slots }) => !tried.has(slots.join()));
      if (copy === undefined) break;
      tried.add(copy.slots.join());
      current = await this.#replace(current, copy);
    }
    if (openCopies(current, seen).length === 0) current = await this.#forgetNoPlace(current);
    const isWell = (entry: PartitionStatus): boolean => entry.state === 'Synced';
    if ((current.status?.partitions ?? []).every(isWell)) return {};
    return { requeueAfterMs: this.#nextLookMs(volume) };
  }

  #count({ metadata: { name }, status, spec }: MeshStorVolume): void {
    if (status === undefined || spec.activatedAt === undefined) {
      this.forget(name);
      return;
    }
    const before = this.#outSince.get(name);
    const now = this.#monotonicMs();
    const out = status.partitions.filter((entry) => isOutCounted(status, entry, this.#isSilent(entry.nodeID)));
    this.#outSince.set(
      name,
      new Map(out.map(({ partitionUUID }) => [partitionUUID, before?.get(partitionUUID) ?? now])),
    );
  }

  #isSilent(node: string): boolean {
    return this.#heartbeats.ageOfNodeMs(node) > HEARTBEAT_LIMIT_MS;
  }

  #seen({ metadata: { name } }: MeshStorVolume): OutSeen {
    const since = this.#outSince.get(name);
    const now = this.#monotonicMs();
    return {
      outMs: (partitionUUID) => now - (since?.get(partitionUUID) ?? now),
      silenceMs: (node) => this.#heartbeats.ageOfNodeMs(node),
      isDriveGone: (entry) => !this.#isSilent(entry.nodeID) && !this.#isDriveListed(entry),
    };
  }

  #isDriveListed(entry: PartitionStatus): boolean {
    return this.#parts.devices.list().some(({ spec }) => spec.node === entry.nodeID && isSameDrive(entry, spec));
  }

  /** When the first of those that are out is due, at the latest after a while. */
  #nextLookMs({ metadata: { name }, spec }: MeshStorVolume): number {
    const now = this.#monotonicMs();
    const left = [...(this.#outSince.get(name)?.values() ?? [])].map(
      (since) => spec.memberMissingTimeout * 1000 - (now - since) + 1,
    );
    return Math.min(LOOK_AGAIN_MS, ...left.filter((ms) => ms > 0));
  }

  async #dropSurplus(volume: MeshStorVolume, { silenceMs }: OutSeen): Promise<MeshStorVolume> {
    if (surplusMembers(volume, silenceMs).length === 0) return volume;
    const { volumes, clock } = this.#parts;
    let surplus: readonly Surplus[] = [];
    const after = await volumes.mutateStatus(volume.metadata.name, (current) => {
      surplus = isBeingDeleted(current) ? [] : surplusMembers(current, silenceMs);
      return surplus.length === 0 ? undefined : recordSurplus(current, silenceMs, timestamp(clock));
    });
    for (const each of surplus) this.#tellSurplus(after, each);
    return after;
  }

  #tellSurplus(volume: MeshStorVolume, { entry, why }: Surplus): void {
    const { events } = this.#parts;
    const about = aboutVolume(volume);
    const old = memberName(entry);
    switch (why) {
      case 'replaced': {
        const by = volume.status?.partitions.find(({ slot, state }) => slot === entry.slot && state === 'Synced');
        const where = by === undefined ? '' : ` by ${by.nodeID}/${by.device}`;
        return events.record(
          about,
          'Normal',
          'Replaced',
          `${old} was replaced${where}; its partition there is removed`,
        );
      }
      case 'returned':
        return events.record(about, 'Normal', 'ReplacementCancelled', `${old} is not needed: the member is back`);
      case 'silent':
        return events.record(about, 'Warning', 'ReplacementGivenUp', `${old} was not made: its node is silent`);
    }
  }

  /** The volume as it is afterwards. */
  async #replace(volume: MeshStorVolume, copy: OpenCopy): Promise<MeshStorVolume> {
    const { volumes, events, clock } = this.#parts;
    const { name } = volume.metadata;
    const plan = this.#place(volume, copy);
    if (typeof plan === 'string') return this.#tellNoPlace(volume, copy, plan);
    const outcome = { isMine: false };
    let after: MeshStorVolume;
    try {
      after = await volumes.mutateStatus(name, (current) => {
        const isSame =
          !isBeingDeleted(current) &&
          current.spec.volumeUUID === volume.spec.volumeUUID &&
          current.spec.capacityBytes === volume.spec.capacityBytes;
        const next = isSame ? recordReplacement(current, copy, plan.partitions, timestamp(clock)) : undefined;
        outcome.isMine = next !== undefined;
        return next;
      });
    } finally {
      if (!outcome.isMine) this.#placer.forget(name);
    }
    if (!outcome.isMine) return after;
    const where = plan.partitions.map(({ nodeID, device }) => `${nodeID}/${device}`).join(', ');
    const message = [`${whatOf(volume, copy)}: replaced by ${where}`, ...plan.notes].join('; ');
    events.record(aboutVolume(after), 'Normal', 'ReplacementRequested', message);
    return after;
  }

  /** Where it goes, or why there is no place. Nodes that have just refused this volume are left out for a while. */
  #place({ metadata: { name }, spec, status = EMPTY_STATUS }: MeshStorVolume, copy: OpenCopy): PlacementPlan | string {
    const refusing = this.#refused.nodesFor(name);
    try {
      return this.#placer.planPart(name, spec, {
        ...copy,
        generation: nextGeneration(status),
        consumer: status.nodeName === '' ? undefined : status.nodeName,
        excludeNodes: refusing,
      });
    } catch (error: unknown) {
      if (!(error instanceof DomainError) || error.kind !== 'exhausted') throw error;
      return refusing.length === 0 ? error.message : `${error.message}; refused by ${refusing.join(', ')}`;
    }
  }

  async #tellNoPlace(volume: MeshStorVolume, copy: OpenCopy, why: string): Promise<MeshStorVolume> {
    const { volumes, events, clock } = this.#parts;
    const message = `${whatOf(volume, copy)}: ${why}`;
    const isSaid = (status: VolumeStatus): boolean => {
      const said = findCondition(status.conditions, PLACED_CONDITION);
      return said?.status === 'False' && withoutAges(said.message) === withoutAges(message);
    };
    if (volume.status !== undefined && isSaid(volume.status)) return volume;
    const outcome = { isNew: false };
    const after = await volumes.mutateStatus(volume.metadata.name, (current) => {
      const { status } = current;
      outcome.isNew = status !== undefined && !isBeingDeleted(current) && !isSaid(status);
      if (status === undefined || !outcome.isNew) return undefined;
      const condition = { type: PLACED_CONDITION, status: 'False' as const, reason: 'NoRoom', message };
      const conditions = setCondition(status.conditions, condition, timestamp(clock));
      return deriveStatus(current, { ...status, conditions });
    });
    if (outcome.isNew) events.record(aboutVolume(after), 'Warning', 'ReplacementWaits', message);
    return after;
  }

  /** Every slot has somebody who fills it, or is about to. */
  async #forgetNoPlace(volume: MeshStorVolume): Promise<MeshStorVolume> {
    const isSaid = (status: VolumeStatus | undefined): boolean =>
      findCondition(status?.conditions ?? [], PLACED_CONDITION) !== undefined;
    if (volume.spec.activatedAt === undefined || !isSaid(volume.status)) return volume;
    return this.#parts.volumes.mutateStatus(volume.metadata.name, (current) => {
      const { status } = current;
      if (status === undefined || isBeingDeleted(current) || !isSaid(status)) return undefined;
      return deriveStatus(current, { ...status, conditions: removeCondition(status.conditions, PLACED_CONDITION) });
    });
  }
}

/** Whose place is to be taken, and why. */
function whatOf({ spec }: MeshStorVolume, { slots, replaced }: OpenCopy): string {
  const lost = replaced.map((entry) =>
    entry.state === 'Faulty'
      ? `${memberName(entry)} failed`
      : `${memberName(entry)} has been missing for more than ${spec.memberMissingTimeout} s`,
  );
  return lost.length > 0 ? lost.join(', ') : `member ${slots.join(', ')} has no place`;
}
