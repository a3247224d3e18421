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
import { Semaphore } from '../support/semaphore.ts';
import * as args from './arguments.ts';
import type { Check } from './check.ts';
import { isBytes, isNothing } from './check.ts';
import type { InFlightCall } from './in-flight.ts';
import { InFlightTable } from './in-flight.ts';
import { contractBroken, invalidArgument, NativeError, wrapNativeError } from './native-error.ts';
import type { RawAddon } from './raw.ts';
import * as shapes from './shapes.ts';

export interface NodeKernelOptions {
  readonly addon: RawAddon;
  /** Native calls that may run at once; the threads beyond are left to `fs` and DNS. */
  readonly threads: number;
  readonly inFlight: InFlightTable;
}

interface CallOptions {
  readonly op: string;
  readonly key?: string;
  readonly check: () => void;
  readonly run: (addon: RawAddon) => Promise<unknown>;
}

/** `Kernel` over the addon. Nothing but checks happens here: what is done lies in C++, what is decided in `plan`. */
export class NodeKernel implements Kernel {
  readonly #addon: RawAddon;
  readonly #threads: Semaphore;
  readonly #inFlight: InFlightTable;

  constructor(options: NodeKernelOptions) {
    this.#addon = options.addon;
    this.#threads = new Semaphore(options.threads);
    this.#inFlight = options.inFlight;
  }

  /** Calls that hold a thread right now, oldest first. */
  inFlight(): readonly InFlightCall[] {
    return this.#inFlight.list();
  }

  /** Calls that wait for a thread. */
  get waiting(): number {
    return this.#threads.waiting;
  }

  nvmeNamespaces(): Promise<readonly NvmeNamespace[]> {
    return this.#read('nvmeNamespaces', '', shapes.isNamespaces, (addon) => addon.nvmeNamespaces());
  }

  identifyController(path: string): Promise<NvmeControllerIdentity> {
    return this.#onPath('identifyController', path, shapes.isControllerIdentity, (addon) =>
      addon.identifyController(path),
    );
  }

  identifyNamespace(path: string): Promise<NvmeNamespaceIdentity> {
    return this.#onPath('identifyNamespace', path, shapes.isNamespaceIdentity, (addon) =>
      addon.identifyNamespace(path),
    );
  }

  signatures(path: string): Promise<readonly string[]> {
    return this.#onPath('signatures', path, shapes.isSignatures, (addon) => addon.signatures(path));
  }

  async readBytes(path: string, offset: number, length: number): Promise<Uint8Array> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkCount('offset', offset);
      args.checkCount('length', length);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.readBytes(path, offset, length);
    const bytes = await this.#call<Uint8Array>({ op: 'readBytes', key: path, check, run }, isBytes);
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
    return this.#do({ op: 'writeBytes', key: path, check, run: (addon) => addon.writeBytes(path, offset, data) });
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
    return this.#do({ op: 'zeroRange', key: path, check, run });
  }

  readGpt(path: string): Promise<GptTable> {
    return this.#onPath('readGpt', path, shapes.isGptTable, (addon) => addon.readGpt(path));
  }

  initializeGpt(path: string, diskGuid: string): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkGuid('diskGuid', diskGuid);
    };
    return this.#do({ op: 'initializeGpt', key: path, check, run: (addon) => addon.initializeGpt(path, diskGuid) });
  }

  addGptPartition(path: string, partition: NewGptPartition): Promise<string> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkNewPartition(partition);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.addGptPartition(path, partition);
    return this.#call({ op: 'addGptPartition', key: path, check, run }, shapes.isDevicePath);
  }

  removeGptPartition(path: string, partitionGuid: string): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkGuid('partitionGuid', partitionGuid);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.removeGptPartition(path, partitionGuid);
    return this.#do({ op: 'removeGptPartition', key: path, check, run });
  }

  resizeGptPartition(path: string, partitionGuid: string, sizeBytes: number): Promise<void> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkGuid('partitionGuid', partitionGuid);
      args.checkInRange('sizeBytes', sizeBytes, 1, Number.MAX_SAFE_INTEGER);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.resizeGptPartition(path, partitionGuid, sizeBytes);
    return this.#do({ op: 'resizeGptPartition', key: path, check, run });
  }

  repairGpt(path: string): Promise<void> {
    return this.#onPath('repairGpt', path, isNothing, (addon) => addon.repairGpt(path));
  }

  mdArrays(): Promise<readonly MdArray[]> {
    return this.#read('mdArrays', '', shapes.isMdArrays, (addon) => addon.mdArrays());
  }

  readMdSuperblock(path: string): Promise<MdSuperblock | undefined> {
    return this.#onPath('readMdSuperblock', path, shapes.isSuperblock, (addon) => addon.readMdSuperblock(path));
  }

  setMdMemberState(array: string, member: string, word: string): Promise<void> {
    const check = (): void => {
      args.checkKernelName('array', array);
      args.checkKernelName('member', member);
      args.checkWord('word', word);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.setMdMemberState(array, member, word);
    return this.#do({ op: 'setMdMemberState', key: array, check, run });
  }

  setMdAttribute(array: string, attribute: string, value: string): Promise<void> {
    const check = (): void => {
      args.checkKernelName('array', array);
      args.checkWord('attribute', attribute);
      args.checkText('value', value);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.setMdAttribute(array, attribute, value);
    return this.#do({ op: 'setMdAttribute', key: array, check, run });
  }

  stopMdArray(array: string): Promise<void> {
    const check = (): void => args.checkKernelName('array', array);
    return this.#do({ op: 'stopMdArray', key: array, check, run: (addon) => addon.stopMdArray(array) });
  }

  dmDevices(prefix: string): Promise<readonly DmDevice[]> {
    const check = (): void => args.checkText('prefix', prefix);
    return this.#call(
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
    return this.#call({ op: 'createDm', key: name, check, run }, shapes.isDmDevice);
  }

  reloadDm(name: string, table: readonly DmTarget[]): Promise<void> {
    const check = (): void => {
      args.checkDmName('name', name);
      args.checkDmTable(table);
    };
    return this.#do({ op: 'reloadDm', key: name, check, run: (addon) => addon.reloadDm(name, table) });
  }

  suspendDm(name: string): Promise<void> {
    return this.#onDm('suspendDm', name, (addon) => addon.suspendDm(name));
  }

  resumeDm(name: string): Promise<void> {
    return this.#onDm('resumeDm', name, (addon) => addon.resumeDm(name));
  }

  messageDm(name: string, message: string): Promise<void> {
    const check = (): void => {
      args.checkDmName('name', name);
      args.checkText('message', message);
    };
    return this.#do({ op: 'messageDm', key: name, check, run: (addon) => addon.messageDm(name, message) });
  }

  removeDm(name: string): Promise<void> {
    return this.#onDm('removeDm', name, (addon) => addon.removeDm(name));
  }

  nvmetState(): Promise<NvmetState> {
    return this.#read('nvmetState', '', shapes.isNvmetState, (addon) => addon.nvmetState());
  }

  ensureNvmetPort(port: NvmetPortWanted): Promise<void> {
    const check = (): void => args.checkPort(port);
    return this.#do({
      op: 'ensureNvmetPort',
      key: String(port.id),
      check,
      run: (addon) => addon.ensureNvmetPort(port),
    });
  }

  ensureNvmetExport(wanted: NvmetExportWanted): Promise<void> {
    const check = (): void => args.checkExport(wanted);
    return this.#do({
      op: 'ensureNvmetExport',
      key: wanted.nqn,
      check,
      run: (addon) => addon.ensureNvmetExport(wanted),
    });
  }

  removeNvmetExport(nqn: string): Promise<void> {
    const check = (): void => args.checkNqn('nqn', nqn);
    return this.#do({ op: 'removeNvmetExport', key: nqn, check, run: (addon) => addon.removeNvmetExport(nqn) });
  }

  nvmeControllers(): Promise<readonly NvmeController[]> {
    return this.#read('nvmeControllers', '', shapes.isNvmeControllers, (addon) => addon.nvmeControllers());
  }

  nvmeConnect(options: NvmeConnectOptions): Promise<{ readonly controller: string }> {
    const check = (): void => args.checkConnect(options);
    const run = (addon: RawAddon): Promise<unknown> => addon.nvmeConnect(options);
    return this.#call({ op: 'nvmeConnect', key: options.nqn, check, run }, shapes.isConnected);
  }

  nvmeDisconnect(nqn: string): Promise<void> {
    const check = (): void => args.checkNqn('nqn', nqn);
    return this.#do({ op: 'nvmeDisconnect', key: nqn, check, run: (addon) => addon.nvmeDisconnect(nqn) });
  }

  mounts(): Promise<readonly MountEntry[]> {
    return this.#read('mounts', '', shapes.isMounts, (addon) => addon.mounts());
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
    return this.#do({ op: 'mount', key: target, check, run });
  }

  bindMount(source: string, target: string, readOnly: boolean): Promise<void> {
    const check = (): void => {
      args.checkPath('source', source);
      args.checkPath('target', target);
      args.mustBe(typeof readOnly === 'boolean', 'readOnly', 'a boolean', readOnly);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.bindMount(source, target, readOnly);
    return this.#do({ op: 'bindMount', key: target, check, run });
  }

  unmount(target: string): Promise<void> {
    return this.#onPath('unmount', target, isNothing, (addon) => addon.unmount(target));
  }

  freezeFilesystem(mountPoint: string): Promise<void> {
    return this.#onPath('freezeFilesystem', mountPoint, isNothing, (addon) => addon.freezeFilesystem(mountPoint));
  }

  thawFilesystem(mountPoint: string): Promise<void> {
    return this.#onPath('thawFilesystem', mountPoint, isNothing, (addon) => addon.thawFilesystem(mountPoint));
  }

  shutdownFilesystem(mountPoint: string): Promise<void> {
    return this.#onPath('shutdownFilesystem', mountPoint, isNothing, (addon) => addon.shutdownFilesystem(mountPoint));
  }

  filesystemUsage(path: string, limitMs: number): Promise<FilesystemUsage> {
    const check = (): void => {
      args.checkPath('path', path);
      args.checkInRange('limitMs', limitMs, 1, 600_000);
    };
    const run = (addon: RawAddon): Promise<unknown> => addon.filesystemUsage(path, limitMs);
    return this.#call({ op: 'filesystemUsage', key: path, check, run }, shapes.isUsage);
  }

  watch(onEvents: (events: readonly KernelEvent[]) => void): { stop(): void } {
    try {
      return this.#addon.watch((events) => {
        shapes.isEvents(events, 'events');
        onEvents(events as readonly KernelEvent[]);
      });
    } catch (error: unknown) {
      throw wrapNativeError('watch', error);
    }
  }

  #read<T>(op: string, key: string, shape: Check, run: CallOptions['run']): Promise<T> {
    return this.#call({ op, key, check: () => undefined, run }, shape);
  }

  #onPath<T>(op: string, path: string, shape: Check, run: CallOptions['run']): Promise<T> {
    return this.#call({ op, key: path, check: () => args.checkPath('path', path), run }, shape);
  }

  #onDm(op: string, name: string, run: CallOptions['run']): Promise<void> {
    return this.#do({ op, key: name, check: () => args.checkDmName('name', name), run });
  }

  #do(call: CallOptions): Promise<void> {
    return this.#call(call, isNothing);
  }

  async #call<T>(call: CallOptions, shape: Check): Promise<T> {
    try {
      call.check();
    } catch (error: unknown) {
      throw invalidArgument(call.op, (error as Error).message, call.key);
    }
    const result = await this.#native(call);
    try {
      shape(result, 'result');
    } catch (error: unknown) {
      throw contractBroken(call.op, (error as Error).message, error);
    }
    return result as T;
  }

  async #native(call: CallOptions): Promise<unknown> {
    try {
      return await this.#threads.run(() => this.#inFlight.track(call.op, call.key ?? '', () => call.run(this.#addon)));
    } catch (error: unknown) {
      throw error instanceof NativeError ? error : wrapNativeError(call.op, error);
    }
  }
}
