import type { Json, JsonObject } from './json.ts';
import { isObject, objectAt, textAt } from './json.ts';
import type { Column, Resource } from './resources.ts';

/** The objects as rows, the way a real API server prints custom resources for kubectl. */
export function toTable(
  resource: Resource,
  objects: readonly JsonObject[],
  metadata: JsonObject,
  now: number,
): JsonObject {
  const name = { name: 'Name', type: 'string', format: 'name', description: 'Name of the object.', priority: 0 };
  const columns = resource.columns.map(({ name: title, type, description, priority }) => {
    return { name: title, type, format: '', description, priority };
  });
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: [name, ...columns],
    rows: objects.map((object) => ({
      cells: [
        textAt(objectAt(object, 'metadata'), 'name'),
        ...resource.columns.map((column) => cell(column, object, now)),
      ],
      object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: objectAt(object, 'metadata') },
    })),
  };
}

function cell(column: Column, object: JsonObject, now: number): Json {
  const value = firstAt(object, column.jsonPath);
  if (value === undefined || value === null) return null;
  if (column.type === 'string') return typeof value === 'string' ? value : JSON.stringify(value);
  if (column.type === 'integer') return typeof value === 'number' ? Math.trunc(value) : null;
  if (column.type === 'number') return typeof value === 'number' ? value : null;
  if (column.type === 'boolean') return typeof value === 'boolean' ? value : null;
  if (column.type !== 'date' || typeof value !== 'string') return null;
  const time = Date.parse(value);
  return Number.isNaN(time) ? '<invalid>' : humanDuration(now - time);
}

/** The first value at a JSONPath of names, `[n]` and `[*]`. */
function firstAt(object: JsonObject, path: string): Json | undefined {
  let values: (Json | undefined)[] = [object];
  for (const [, name, index] of path.matchAll(/\.([A-Za-z0-9_-]+)|\[(\d+|\*)\]/g)) {
    values = values.flatMap((value) => {
      if (name !== undefined) return isObject(value) ? [value[name]] : [];
      if (!Array.isArray(value)) return [];
      return index === '*' ? (value as Json[]) : [(value as Json[])[Number(index)]];
    });
  }
  return values[0];
}

/** Durations as kubectl shows ages: two units while they are small, then one. */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return two(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? two(years, 'y', days % 365, 'd') : `${years}y`;
}

function two(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`;
}
