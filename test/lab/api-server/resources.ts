import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { JsonObject } from './json.ts';
import { objectAt, textAt } from './json.ts';
import type { Schema } from './schema.ts';
import { compileSchema } from './schema.ts';

export interface Column {
  readonly name: string;
  readonly type: string;
  readonly description: string;
  readonly jsonPath: string;
  readonly priority: number;
}

/** One kind that the server keeps. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly hasStatus: boolean;
  /** A status given at creation is kept. */
  readonly keepsNewStatus: boolean;
  /** May be replaced without naming the version that is replaced. */
  readonly allowsBlindUpdate: boolean;
  /** Undefined: stored as it comes. */
  readonly schema: Schema | undefined;
  /** After NAME. */
  readonly columns: readonly Column[];
  /** As the API shows it in its OpenAPI document. */
  readonly openApi: JsonObject;
}

const AGE: Column = {
  name: 'Age',
  type: 'date',
  description: 'Time since creation.',
  jsonPath: '.metadata.creationTimestamp',
  priority: 0,
};

type BuiltIn = readonly [group: string, version: string, plural: string, kind: string, options?: Partial<Resource>];

const BUILT_IN: readonly BuiltIn[] = [
  ['', 'v1', 'nodes', 'Node', { shortNames: ['no'], hasStatus: true, keepsNewStatus: true }],
  ['', 'v1', 'namespaces', 'Namespace', { shortNames: ['ns'], hasStatus: true }],
  ['', 'v1', 'events', 'Event', { shortNames: ['ev'], namespaced: true }],
  ['', 'v1', 'persistentvolumes', 'PersistentVolume', { shortNames: ['pv'], hasStatus: true }],
  [
    '',
    'v1',
    'persistentvolumeclaims',
    'PersistentVolumeClaim',
    { shortNames: ['pvc'], namespaced: true, hasStatus: true },
  ],
  ['coordination.k8s.io', 'v1', 'leases', 'Lease', { namespaced: true, allowsBlindUpdate: false }],
  ['storage.k8s.io', 'v1', 'volumeattachments', 'VolumeAttachment', { hasStatus: true }],
  ['storage.k8s.io', 'v1', 'csinodes', 'CSINode'],
  ['storage.k8s.io', 'v1', 'csidrivers', 'CSIDriver'],
  ['storage.k8s.io', 'v1', 'storageclasses', 'StorageClass', { shortNames: ['sc'] }],
];

export function builtInResources(): readonly Resource[] {
  return BUILT_IN.map(([group, version, plural, kind, options]) => ({
    group,
    version,
    plural,
    kind,
    singular: kind.toLowerCase(),
    shortNames: [],
    categories: [],
    namespaced: false,
    hasStatus: false,
    keepsNewStatus: false,
    allowsBlindUpdate: true,
    schema: undefined,
    columns: [AGE],
    openApi: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    ...options,
  }));
}

/** The kinds that the CustomResourceDefinitions in a folder define. Throws on what this server could not enforce. */
export function customResources(folder: string): readonly Resource[] {
  const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
  return files.sort().flatMap((file) => fromDefinition(parse(readFileSync(join(folder, file), 'utf8')) as JsonObject));
}

interface Names {
  readonly plural: string;
  readonly singular?: string;
  readonly kind: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

interface DefinedVersion {
  readonly name: string;
  readonly served: boolean;
  readonly schema: { readonly openAPIV3Schema: JsonObject };
  readonly subresources?: { readonly status?: object };
  readonly additionalPrinterColumns?: readonly (Omit<Column, 'priority' | 'description'> & Partial<Column>)[];
}

function fromDefinition(definition: JsonObject): readonly Resource[] {
  if (definition['kind'] !== 'CustomResourceDefinition') return [];
  const spec = objectAt(definition, 'spec');
  const names = spec['names'] as unknown as Names;
  const versions = spec['versions'] as unknown as readonly DefinedVersion[];
  return versions
    .filter((version) => version.served)
    .map((version) => ({
      group: textAt(spec, 'group'),
      version: version.name,
      plural: names.plural,
      singular: names.singular ?? names.kind.toLowerCase(),
      kind: names.kind,
      shortNames: names.shortNames ?? [],
      categories: names.categories ?? [],
      namespaced: spec['scope'] === 'Namespaced',
      hasStatus: version.subresources?.status !== undefined,
      keepsNewStatus: version.subresources?.status === undefined,
      allowsBlindUpdate: false,
      schema: compileSchema(version.schema.openAPIV3Schema),
      columns: (version.additionalPrinterColumns ?? [AGE]).map((column) => ({
        priority: 0,
        description: '',
        ...column,
      })),
      openApi: version.schema.openAPIV3Schema,
    }));
}

export function groupVersion(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/** `meshstorvolumes.csi.meshstor.io`. */
export function qualifiedName(resource: Resource): string {
  return resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
}

/** Key of the collection in the storage. */
export function collectionOf(resource: Resource): string {
  return `${resource.group}/${resource.plural}`;
}
