/** The parts of Kubernetes objects that the project reads, and how stores of them behave. */

export interface ObjectMeta {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly creationTimestamp: string;
  readonly deletionTimestamp?: string;
  readonly finalizers: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** A standard Kubernetes condition. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** One word in PascalCase, stable. */
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

/** What a new object needs of its metadata. */
export interface NewMeta {
  readonly name: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
}

/**
 * Objects of one kind: a cache kept by a watch, linearizable reads, and writes by compare and swap.
 * Failures are `DomainError`s: `unavailable` (API away, throttled, 5xx), `notFound`, `conflict` (create: exists already), `invalid`, `internal`.
 */
export interface ObjectStore<T extends { readonly metadata: ObjectMeta }> {
  /** From the cache, frozen, possibly old. Broken objects are left out (they carry a condition). */
  list(): readonly T[];
  get(name: string): T | undefined;
  /** Resolves at the first complete list. */
  readonly synced: Promise<void>;
  readonly isSynced: boolean;
  /** Called with the name after the cache changed (and once for every object at each relist). Returns the unsubscriber. */
  onChange(listener: (name: string) => void): () => void;
  /** A GET without resourceVersion: what etcd's quorum says now. Undefined when there is none; `internal` when it is broken. */
  read(name: string): Promise<T | undefined>;
  /** Of all objects, broken ones too, as etcd's quorum says now. A list of everything: for rare questions. */
  names(): Promise<readonly string[]>;
  create(meta: NewMeta, spec: unknown): Promise<T>;
  /**
   * Read, compute, write the status with the resourceVersion that was read; on a conflict read again and compute again (bounded).
   * `change` is synchronous and pure; `undefined` means no write; what it throws ends the attempt. Returns the object as it is now.
   */
  mutateStatus(name: string, change: (current: T) => StatusOf<T> | undefined): Promise<T>;
  /** The same for spec and metadata (annotations, labels, finalizers). */
  mutate(name: string, change: (current: T) => T | undefined): Promise<T>;
  /** Gone already is success. With `uid`, only that incarnation. */
  delete(name: string, options?: { readonly uid?: string }): Promise<void>;
}

export type StatusOf<T> = T extends { readonly status?: infer S } ? NonNullable<S> : never;

/** What the project reads of a core Node. */
export interface NodeInfo {
  readonly metadata: ObjectMeta;
  readonly internalIP: string;
  /** `status.nodeInfo.systemUUID`, lower case; the machine behind the name. */
  readonly machineID: string;
  readonly ready: boolean;
  readonly unschedulable: boolean;
  readonly taints: readonly { readonly key: string; readonly value: string; readonly effect: string }[];
}

/** Nodes: read only. */
export interface NodeStore {
  list(): readonly NodeInfo[];
  get(name: string): NodeInfo | undefined;
  readonly synced: Promise<void>;
  readonly isSynced: boolean;
  onChange(listener: (name: string) => void): () => void;
  read(name: string): Promise<NodeInfo | undefined>;
}

/** Which volumes the cluster's PersistentVolumes name, whoever made those: read only. */
export interface ClaimedVolumes {
  has(volumeId: string): boolean;
  /** Before the first complete list, that one is not there means nothing. */
  readonly isSynced: boolean;
  /** Milliseconds since the API was heard of last. */
  readonly watchAgeMs: number;
  /** Called with the volume id when its first PersistentVolume came or its last one went. Returns the unsubscriber. */
  onChange(listener: (volumeId: string) => void): () => void;
}

/** What an event is about. */
export interface EventSubject {
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  /** Of a namespaced object; the event lives there too. */
  readonly namespace?: string;
}

/** Kubernetes events with stable reasons. Never throws; what cannot be sent is logged. */
export interface EventRecorder {
  record(about: EventSubject, type: 'Normal' | 'Warning', reason: string, message: string): void;
}
