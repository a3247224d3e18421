import { SECRET_FIELDS } from './generated/secret-fields.ts';

/**
 * The request without the fields that the contract marks `csi_secret`, for the log. Mount flags go too: the contract calls them
 * possibly sensitive.
 */
export function withoutSecrets(requestType: string, request: object): Readonly<Record<string, unknown>> {
  const secrets = new Set(SECRET_FIELDS[requestType] ?? []);
  const shown: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(request) as [string, unknown][]) {
    if (secrets.has(field)) {
      if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) shown[field] = '***';
    } else {
      shown[field] = withoutMountFlags(value);
    }
  }
  return shown;
}

function withoutMountFlags(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutMountFlags);
  if (typeof value !== 'object' || value === null) return value;
  const shown: Record<string, unknown> = {};
  for (const [field, inner] of Object.entries(value)) {
    shown[field] = field === 'mountFlags' && Array.isArray(inner) ? `${inner.length} flags` : withoutMountFlags(inner);
  }
  return shown;
}
