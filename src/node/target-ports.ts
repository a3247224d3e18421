/** The ports of this node's NVMe target. TCP first: a fabric that this node lacks must not keep the other from being served. */
import type { Kernel } from '../api/kernel.ts';
import { NVMET_RDMA_PORT_ID, NVMET_TCP_PORT_ID, RDMA_PORT, TCP_PORT } from '../api/names.ts';
import type { Log } from '../support/log.ts';
import { errorFields } from '../support/log.ts';

export interface TargetPortsParts {
  readonly kernel: Kernel;
  readonly nodeName: string;
  /** Address to listen on; else the one of the Node object. */
  readonly tcpAddress?: string;
  readonly log: Log;
}

export class TargetPorts {
  readonly #parts: TargetPortsParts;
  #tcp = false;
  #rdma = false;
  #said = '';

  constructor(parts: TargetPortsParts) {
    this.#parts = parts;
  }

  get listensOnRdma(): boolean {
    return this.#rdma;
  }

  /** Makes what is missing; a port that is there stays as it is. Rejects when the TCP port cannot be made. */
  async ensure(addresses: { readonly tcp: string; readonly rdma?: string } | undefined): Promise<void> {
    await this.#ensureTcp(this.#parts.tcpAddress ?? addresses?.tcp ?? '');
    if (addresses?.rdma !== undefined) await this.#ensureRdma(addresses.rdma);
  }

  async #ensureTcp(traddr: string): Promise<void> {
    if (this.#tcp) return;
    const { kernel, nodeName, log } = this.#parts;
    if (traddr === '') {
      log.warn('no address to listen on', {
        node: nodeName,
        fix: 'give --nvme-tcp-address or the annotation meshstor.io/nvme-over-tcp-address',
      });
      return;
    }
    await kernel.ensureNvmetPort({ id: NVMET_TCP_PORT_ID, trtype: 'tcp', traddr, trsvcid: String(TCP_PORT) });
    this.#tcp = true;
  }

  /** Tried in every pass; said when it fails in another way than before. */
  async #ensureRdma(traddr: string): Promise<void> {
    if (this.#rdma) return;
    const { kernel, nodeName, log } = this.#parts;
    try {
      await kernel.ensureNvmetPort({ id: NVMET_RDMA_PORT_ID, trtype: 'rdma', traddr, trsvcid: String(RDMA_PORT) });
      this.#rdma = true;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message === this.#said) return;
      this.#said = message;
      const fix = 'load nvmet-rdma and check the address, or remove the annotation meshstor.io/nvme-over-rdma-address';
      log.warn('not listening on rdma', { node: nodeName, traddr, error: errorFields(error), fix });
    }
  }
}
