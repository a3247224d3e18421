import type {
  DmDevice,
  DmTarget,
  Extent,
  FilesystemUsage,
  GptTable,
  Kernel,
  KernelEvent,
  MdArray,
  MdSuperblock,
  MountEntry,
  NewGptPartition,
  NvmeConnectOptions,
  NvmeController,
  NvmeControllerIdentity,
  NvmeNamespace,
  NvmeNamespaceIdentity,
  NvmetExportWanted,
  NvmetPortWanted,
  NvmetState,
} from '../api/kernel.ts';
import * as args from './arguments.ts';
import type { NativeCalls } from './calls.ts';
import { isBytes, isNothing } from './check.ts';
import type { InFlightCall } from './in-flight.ts';
import { contractBroken, wrapNativeError } from './native-error.ts';
import type { RawAddon } from './raw.ts';
import * as shapes from './shapes.ts';

/** `Kernel` over the addon. Nothing but checks happens here: what is done lies in C++, what is decided in `plan`. */
export class NodeKernel implements Kernel {
  readonly #native: NativeCalls;

  constructor(native: NativeCalls) {
    this.#native = native;
  }

  /** Calls that hold a thread right now, oldest first. */
  inFlight(): readonly InFlightCall[] {
    return this.#native.inFlight();
  }

  /** Calls that wait for a thread. */
  get waiting(): number {
    return this.#native.waiting;
  }

  nvmeNamespaces(): Promise<readonly NvmeNamespace[]> {
    return this.#native.run('nvmeNamespaces', '', shapes.isNamespaces, (addon) => addon.nvmeNamespaces());
  }

  identifyController(path: string): Promise<NvmeControllerIdentity> {
    return this.#native.onPath('identifyController', path, shapes.isControllerIdentity, (addon) =>
      addon.identifyController(path),
    );
  }

  identifyNamespace(path: string): Promise<NvmeNamespaceIdentity> {
    return this.#native.onPath('identifyNamespace', path, shapes.isNamespaceIdentity, (addon) =>
      addon.identifyNamespace(path),
    );
  }

  signatures(path: string): Promise<readonly string[]> {
    return this.#native.readDrive('signatures', path, shapes.isSignatures, (addon) => addon.signatures(path));
  }

  async readBytes(path: string, offset: number, length: number): Promise<Uint8Array> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkCount('offset', offset);
      args.checkCount('length', length);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.readBytes(path, offset, length);
    const bytes = await this.#native.call<Uint8Array>({ op: 'readBytes', key: path, check, run }, isBytes);
    if (bytes.byteLength !== length) {
      throw contractBroken('readBytes', `asked for ${String(length)} bytes, got ${String(bytes.byteLength)}`);
    }
    return bytes;
  }

  writeBytes(path: string, offset: number, data: Uint8Array): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkCount('offset', offset);
      args.mustBe(data instanceof Uint8Array, 'data', 'a Uint8Array', data);
    };
    return this.#native.perform({
      op: 'writeBytes',
      key: path,
      check,
      run: (addon) => addon.writeBytes(path, offset, data),
    });
  }

  zeroRange(
    path: string,
    range: Extent,
    verify: 'full' | 'sample',
    onProgress?: (doneBytes: number) => void,
  ): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkExtent(range);
      args.checkOneOf('verify', verify, ['full', 'sample']);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.zeroRange(path, range, verify, onProgress);
    return this.#native.perform({ op: 'zeroRange', key: path, check, run });
  }

  readGpt(path: string): Promise<GptTable> {
    return this.#native.readDrive('readGpt', path, shapes.isGptTable, (addon) => addon.readGpt(path));
  }

  initializeGpt(path: string, diskGuid: string): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkGuid('diskGuid', diskGuid);
    };
    return this.#native.perform({
      op: 'initializeGpt',
      key: path,
      check,
      run: (addon) => addon.initializeGpt(path, diskGuid),
    });
  }

  addGptPartition(path: string, partition: NewGptPartition): Promise<string> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkNewPartition(partition);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.addGptPartition(path, partition);
    return this.#native.call({ op: 'addGptPartition', key: path, check, run }, shapes.isDevicePath);
  }

  removeGptPartition(path: string, partitionGuid: string): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkGuid('partitionGuid', partitionGuid);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.removeGptPartition(path, partitionGuid);
    return this.#native.perform({ op: 'removeGptPartition', key: path, check, run });
  }

  resizeGptPartition(path: string, partitionGuid: string, sizeBytes: number): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkGuid('partitionGuid', partitionGuid);
      args.checkInRange('sizeBytes', sizeBytes, 1, Number.MAX_SAFE_INTEGER);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.resizeGptPartition(path, partitionGuid, sizeBytes);
    return this.#native.perform({ op: 'resizeGptPartition', key: path, check, run });
  }

  repairGpt(path: string): Promise<void> {
    return this.#native.onPath('repairGpt', path, isNothing, (addon) => addon.repairGpt(path));
  }

  mdArrays(): Promise<readonly MdArray[]> {
    return this.#native.run('mdArrays', '', shapes.isMdArrays, (addon) => addon.mdArrays());
  }

  readMdSuperblock(path: string): Promise<MdSuperblock | undefined> {
    return this.#native.onPath('readMdSuperblock', path, shapes.isSuperblock, (addon) => addon.readMdSuperblock(path));
  }

  setMdMemberState(array: string, member: string, word: string): Promise<void> {
    const check = (): void => {
      args.checkKernelName('array', array);
      args.checkKernelName('member', member);
      args.checkWord('word', word);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.setMdMemberState(array, member, word);
    return this.#native.perform({ op: 'setMdMemberState', key: array, check, run });
  }

  setMdAttribute(array: string, attribute: string, value: string): Promise<void> {
    const check = (): void => {
      args.checkKernelName('array', array);
      args.checkWord('attribute', attribute);
      args.checkText('value', value);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.setMdAttribute(array, attribute, value);
    return this.#native.perform({ op: 'setMdAttribute', key: array, check, run });
  }

  stopMdArray(array: string): Promise<void> {
    const check = (): void => args.checkKernelName('array', array);
    const run = (addon: RawAddon): Promise<unknown> => addon.stopMdArray(array);
    return this.#native.perform({ op: 'stopMdArray', key: array, check, run });
  }

  dmDevices(prefix: string): Promise<readonly DmDevice[]> {
    const check = (): void => args.checkText('prefix', prefix);
    return this.#native.call(
      { op: 'dmDevices', key: prefix, check, run: (addon) => addon.dmDevices(prefix) },
      shapes.isDmDevices,
    );
  }

  createDm(name: string, uuid: string, table: readonly DmTarget[]): Promise<DmDevice> {
    const check = (): void => {
      args.checkDmName('name', name);
      args.checkDmUuid('uuid', uuid);
      args.checkDmTable(table);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.createDm(name, uuid, table);
    return this.#native.call({ op: 'createDm', key: name, check, run }, shapes.isDmDevice);
  }

  reloadDm(name: string, table: readonly DmTarget[]): Promise<void> {
    const check = (): void => {
      args.checkDmName('name', name);
      args.checkDmTable(table);
    };
    return this.#native.perform({ op: 'reloadDm', key: name, check, run: (addon) => addon.reloadDm(name, table) });
  }

  suspendDm(name: string): Promise<void> {
    return this.#native.perform({
      op: 'suspendDm',
      key: name,
      check: () => args.checkDmName('name', name),
      run: (addon) => addon.suspendDm(name),
    });
  }

  resumeDm(name: string): Promise<void> {
    return this.#native.perform({
      op: 'resumeDm',
      key: name,
      check: () => args.checkDmName('name', name),
      run: (addon) => addon.resumeDm(name),
    });
  }

  messageDm(name: string, message: string): Promise<void> {
    const check = (): void => {
      args.checkDmName('name', name);
      args.checkText('message', message);
    };
    return this.#native.perform({ op: 'messageDm', key: name, check, run: (addon) => addon.messageDm(name, message) });
  }

  removeDm(name: string): Promise<void> {
    return this.#native.perform({
      op: 'removeDm',
      key: name,
      check: () => args.checkDmName('name', name),
      run: (addon) => addon.removeDm(name),
    });
  }

  nvmetState(): Promise<NvmetState> {
    return this.#native.run('nvmetState', '', shapes.isNvmetState, (addon) => addon.nvmetState());
  }

  ensureNvmetPort(port: NvmetPortWanted): Promise<void> {
    const check = (): void => args.checkPort(port);
    return this.#native.perform({
      op: 'ensureNvmetPort',
      key: String(port.id),
      check,
      run: (addon) => addon.ensureNvmetPort(port),
    });
  }

  ensureNvmetExport(wanted: NvmetExportWanted): Promise<void> {
    const check = (): void => args.checkExport(wanted);
    return this.#native.perform({
      op: 'ensureNvmetExport',
      key: wanted.nqn,
      check,
      run: (addon) => addon.ensureNvmetExport(wanted),
    });
  }

  removeNvmetExport(nqn: string): Promise<void> {
    const check = (): void => args.checkNqn('nqn', nqn);
    const run = (addon: RawAddon): Promise<unknown> => addon.removeNvmetExport(nqn);
    return this.#native.onOwnThread({ op: 'removeNvmetExport', key: nqn, check, run }, 'rmdir');
  }

  nvmeControllers(): Promise<readonly NvmeController[]> {
    return this.#native.run('nvmeControllers', '', shapes.isNvmeControllers, (addon) => addon.nvmeControllers());
  }

  nvmeConnect(options: NvmeConnectOptions): Promise<{ readonly controller: string }> {
    const check = (): void => args.checkConnect(options);
    const run = (addon: RawAddon): Promise<unknown> => addon.nvmeConnect(options);
    return this.#native.call({ op: 'nvmeConnect', key: options.nqn, check, run }, shapes.isConnected);
  }

  nvmeDisconnect(nqn: string): Promise<void> {
    const check = (): void => args.checkNqn('nqn', nqn);
    return this.#native.perform({ op: 'nvmeDisconnect', key: nqn, check, run: (addon) => addon.nvmeDisconnect(nqn) });
  }

  mounts(): Promise<readonly MountEntry[]> {
    return this.#native.run('mounts', '', shapes.isMounts, (addon) => addon.mounts());
  }

  mount(source: string, target: string, fsType: string, options: readonly string[]): Promise<void> {
    const check = (): void => {
      args.checkPath('source', source);
      args.checkPath('target', target);
      args.mustBe(/^[a-z][a-z0-9._-]{0,31}$/.test(fsType), 'fsType', 'a filesystem type', fsType);
      args.mustBe(Array.isArray(options), 'options', 'a list of options', options);
      for (const option of options) {
        args.checkText('options', option);
        args.mustBe(option !== '' && !option.includes(','), 'options', 'single options without comma', option);
      }
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.mount(source, target, fsType, options);
    return this.#native.perform({ op: 'mount', key: target, check, run });
  }

  bindMount(source: string, target: string, readOnly: boolean): Promise<void> {
    const check = (): void => {
      args.checkPath('source', source);
      args.checkPath('target', target);
      args.mustBe(typeof readOnly === 'boolean', 'readOnly', 'a boolean', readOnly);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.bindMount(source, target, readOnly);
    return this.#native.perform({ op: 'bindMount', key: target, check, run });
  }

  unmount(target: string): Promise<void> {
    return this.#native.onPath('unmount', target, isNothing, (addon) => addon.unmount(target));
  }

  freezeFilesystem(mountPoint: string): Promise<void> {
    return this.#native.onPath('freezeFilesystem', mountPoint, isNothing, (addon) =>
      addon.freezeFilesystem(mountPoint),
    );
  }

  thawFilesystem(mountPoint: string): Promise<void> {
    return this.#native.onPath('thawFilesystem', mountPoint, isNothing, (addon) => addon.thawFilesystem(mountPoint));
  }

  shutdownFilesystem(mountPoint: string): Promise<void> {
    return this.#native.onPath('shutdownFilesystem', mountPoint, isNothing, (addon) =>
      addon.shutdownFilesystem(mountPoint),
    );
  }

  filesystemUsage(path: string, limitMs: number): Promise<FilesystemUsage> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkInRange('limitMs', limitMs, 1, 600_000);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.filesystemUsage(path, limitMs);
    return this.#native.call({ op: 'filesystemUsage', key: path, check, run }, shapes.isUsage);
  }

  watch(onEvents: (events: readonly KernelEvent[]) => void): { stop(): void } {
    try {
      return this.#native.addon.watch((events) => {
        shapes.isEvents(events, 'events');
        onEvents(events as readonly KernelEvent[]);
      });
    } catch (error: unknown) {
      throw wrapNativeError('watch', error);
    }
  }

  setIoFlusher(): Promise<void> {
    return this.#native.run('setIoFlusher', '', isNothing, (addon) => addon.setIoFlusher());
  }

  acquireNodeLock(path: string): Promise<void> {
    return this.#native.onPath('acquireNodeLock', path, isNothing, (addon) => addon.acquireNodeLock(path));
  }
}
