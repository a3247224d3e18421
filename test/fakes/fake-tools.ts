import type {
  CreateArrayWanted,
  GrowFilesystemWanted,
  MakeFilesystemWanted,
  ProbedFilesystem,
  Tools,
} from '../../src/node/tools.ts';
import { DATA_OFFSET_BYTES, RAID10_CHUNK_BYTES } from '../../src/api/layout.ts';
import { DomainError } from '../../src/api/errors.ts';
import type { FakeMd } from './fake-md.ts';
import type { FakeMounts } from './fake-mounts.ts';

/** mdadm, mkfs and blkid of a fake node. */
export class FakeTools implements Tools {
  /** Programs started, as `mdadm --create NAME`. */
  readonly started: string[] = [];
  readonly #md: FakeMd;
  readonly #mounts: FakeMounts;

  constructor(md: FakeMd, mounts: FakeMounts) {
    this.#md = md;
    this.#mounts = mounts;
  }

  async createArray(wanted: CreateArrayWanted): Promise<void> {
    await this.#run(`mdadm --create ${wanted.name}`, () =>
      this.#md.create({
        uuid: wanted.arrayUUID,
        name: wanted.name,
        level: wanted.level,
        members: wanted.members,
        writeMostly: new Set(wanted.writeMostly),
        sizeBytes: wanted.memberDataBytes,
        dataOffsetBytes: DATA_OFFSET_BYTES,
        chunkBytes: RAID10_CHUNK_BYTES,
        ...(wanted.level === 10 ? { layoutCopies: wanted.layoutCopies } : {}),
      }),
    );
  }

  async assembleArray(arrayUUID: string, name: string, members: readonly string[]): Promise<void> {
    await this.#run(`mdadm --assemble ${name}`, () => this.#md.assembleReadOnly(arrayUUID, members));
  }

  async addMember(array: string, member: string): Promise<void> {
    await this.#run(`mdadm --add ${member}`, () => this.#md.add(array, member));
  }

  async probeFilesystem(device: string): Promise<ProbedFilesystem | undefined> {
    const found = await this.#run(`blkid ${device}`, () => this.#mounts.probe(device));
    return found === undefined ? undefined : { fsType: found.fsType, uuid: found.uuid };
  }

  async makeFilesystem(wanted: MakeFilesystemWanted): Promise<void> {
    await this.#run(`mkfs.${wanted.fsType} ${wanted.device}`, () =>
      this.#mounts.make(wanted.device, wanted.fsType, wanted.uuid),
    );
  }

  async growArray(array: string, memberDataBytes: number): Promise<void> {
    await this.#run(`mdadm --grow ${array}`, () => this.#md.grow(array, memberDataBytes));
  }

  async growFilesystem({ array, mountPoint, fsType }: GrowFilesystemWanted): Promise<void> {
    if (fsType === 'ext4') await this.#run(`resize2fs ${array}`, () => this.#mounts.growDevice(array));
    else await this.#run(`xfs_growfs ${mountPoint}`, () => this.#mounts.grow(mountPoint));
  }

  /** Programs fail with an exit code, not with an errno. */
  async #run<T>(program: string, work: () => Promise<T>): Promise<T> {
    this.started.push(program);
    try {
      return await work();
    } catch (error: unknown) {
      throw new DomainError('internal', `running ${program}: exit code 1: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}
