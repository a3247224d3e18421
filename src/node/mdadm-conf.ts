/** The configuration that mdadm is started with. */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUuid } from '../support/uuid.ts';

/** The machine's own. Debian's; there in the image and wherever the package is installed. */
export const MDADM_CONF_PATH = '/etc/mdadm/mdadm.conf';

/** Arrays without a bad-block log (SPEC §7.3); nothing is assembled by itself. */
const MDADM_CONF = 'CREATE bbl=no\nAUTO -all\n';

/**
 * Path of the file in this folder, which is made if need be. Written anew each time and put in place by rename, so that a reader never
 * sees half of it; under a name of its own, since several volumes may be staged at once.
 */
export async function writeMdadmConf(folder: string): Promise<string> {
  const path = join(folder, 'mdadm.conf');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomUuid()}`;
  await writeFile(temporary, MDADM_CONF);
  await rename(temporary, path);
  return path;
}
