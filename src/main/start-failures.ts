/** Starts that fail for what somebody can mend: said with the option, or the right, that it takes. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DomainError, errnoCode } from '../api/errors.ts';
import type { Kernel } from '../api/kernel.ts';
import type { HttpEndpoint, HttpOptions } from '../observability/http.ts';
import { serveHttp } from '../observability/http.ts';

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** One node process per node (SPEC §7.1): held until this process ends, whatever ends it. */
export async function takeNodeLock(
  kernel: Pick<Kernel, 'acquireNodeLock'>,
  lockFile: string,
  isRoot = process.geteuid?.() === 0,
): Promise<void> {
  try {
    await mkdir(dirname(lockFile), { recursive: true });
    await kernel.acquireNodeLock(lockFile);
  } catch (cause) {
    const code = errnoCode(cause) ?? '';
    if (['EWOULDBLOCK', 'EAGAIN'].includes(code)) {
      const why = 'another node process of this node holds it; wait for it to end';
      throw new DomainError('precondition', `taking ${lockFile}: ${why}`, { cause });
    }
    if (isRoot || !['EACCES', 'EPERM'].includes(code)) throw cause;
    throw new DomainError('precondition', `taking ${lockFile}: ${textOf(cause)}; the node role needs root`, { cause });
  }
}

/** As `serveHttp`; a refusal names the option that the address is from. */
export async function serveMetrics(options: HttpOptions): Promise<HttpEndpoint> {
  try {
    return await serveHttp(options);
  } catch (cause) {
    if (errnoCode(cause) === undefined) throw cause;
    const message = `serving metrics: ${textOf(cause)}; give another address with --metrics-address`;
    throw new DomainError('precondition', message, { cause });
  }
}
