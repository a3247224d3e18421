import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeRole } from '../deployment.ts';

const LOOK_MS = 200;
const PROBE_LIMIT_MS = 2000;
/** As kubelet waits before it starts a container again for the first time, or a little less. */
const RESTART_PAUSE_MS = 1000;

/** Starts a node role again whenever it has ended, as kubelet does with a container. */
export class RoleKeeper {
  readonly role: NodeRole;
  readonly #say: (text: string) => void;
  #isHeld = false;
  #isStopped = false;
  #isExpected = false;
  /** Ends of the role that nobody asked for. */
  ownEnds = 0;

  constructor(role: NodeRole, say: (text: string) => void) {
    this.role = role;
    this.#say = say;
  }

  /** Runs until stopped; the role runs already. */
  async keep(): Promise<void> {
    let running = this.role.process.ended;
    for (;;) {
      const how = await running.then(
        ({ code, signal }) => `${code ?? signal}`,
        (error: unknown) => String(error),
      );
      if (this.#isStopped) return;
      if (!this.#isExpected && !this.#isHeld) {
        this.ownEnds += 1;
        this.#say(`the node role of ${this.role.machine.name} has ended by itself: ${how}`);
      }
      this.#isExpected = false;
      await sleep(RESTART_PAUSE_MS);
      while (this.#isHeld && !this.#isStopped) await sleep(LOOK_MS);
      if (this.#isStopped) return;
      running = this.role.launch().then(({ ended }) => ended);
    }
  }

  /** Its socket answers. */
  async isServing(): Promise<boolean> {
    return this.role.csi.identity.Probe({}, { deadlineMs: PROBE_LIMIT_MS }).then(
      () => true,
      () => false,
    );
  }

  /** As a crash would end it. It comes again by itself. */
  async kill(): Promise<void> {
    this.#isExpected = true;
    await this.role.kill();
  }

  /** Its machine goes down: no start before `release`. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
  }

  /** Leaves the role as it is from now on. */
  stop(): void {
    this.#isStopped = true;
  }
}
