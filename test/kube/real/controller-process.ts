/** A controller role as a process of the built program, with a relay before the API server. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CsiClient } from '../../csi/client.ts';
import { connectCsi } from '../../csi/client.ts';
import { REPO_ROOT } from '../../lab/paths.ts';
import type { ApiRelay } from './api-relay.ts';
import type { Component } from './component.ts';
import { startComponent, untilReady } from './component.ts';
import type { ControlPlane } from './control-plane.ts';

const PROGRAM = join(REPO_ROOT, 'dist', 'meshstor.mjs');
const READY_MS = 60_000;

export interface ControllerProcessOptions {
  /** Default: as the administrator. */
  readonly token?: string;
  /** Namespace of the lease; without it there is no election, and every replica reconciles. */
  readonly leaseNamespace?: string;
  /** How long it may take until it serves calls. */
  readonly readyMs?: number;
  /** More options of the program, without dashes. */
  readonly flags?: Readonly<Record<string, string>>;
}

export class ControllerProcess {
  readonly name: string;
  readonly relay: ApiRelay;
  /** Path of its CSI socket. */
  readonly socket: string;
  readonly csi: CsiClient;
  readonly #component: Component;

  private constructor(name: string, relay: ApiRelay, socket: string, component: Component) {
    this.name = name;
    this.relay = relay;
    this.socket = socket;
    this.csi = connectCsi(socket);
    this.#component = component;
  }

  /** Resolves when it serves calls. Its log is `NAME.log` in the control plane's folder. */
  static async start(
    plane: ControlPlane,
    name: string,
    options: ControllerProcessOptions = {},
  ): Promise<ControllerProcess> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is needed: npm run build`);
    const relay = await plane.newRelay();
    const { token = plane.tokenOf('admin'), leaseNamespace, readyMs = READY_MS, flags: more = {} } = options;
    const socket = join(plane.folder, `${name}.sock`);
    const election = leaseNamespace === undefined ? [] : ['--leader-election', '--lease-namespace', leaseNamespace];
    const flags = {
      kubeconfig: plane.kubeconfigFor(name, token, relay.url),
      'csi-endpoint': `unix://${socket}`,
      'metrics-address': '127.0.0.1:0',
      'pod-name': name,
      ...more,
    };
    const args = ['controller', ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]), ...election];
    const component = await startComponent(name, PROGRAM, args, plane.folder);
    const started = new ControllerProcess(name, relay, socket, component);
    // Refused until all is listed that calls are answered from.
    const isReady = () => started.csi.controller.ListVolumes({}).then(() => true);
    await untilReady(component, isReady, readyMs);
    return started;
  }

  get runs(): boolean {
    return this.#component.runs;
  }

  log(lines?: number): string {
    return this.#component.log(lines);
  }

  /** What its endpoint says now. */
  async metrics(): Promise<string> {
    const port = /"metrics":\{[^}]*"port":(\d+)/.exec(this.log(100_000))?.[1];
    if (port === undefined) throw new Error(`no port of its metrics is known:\n${this.log()}`);
    const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
    if (!answer.ok) throw new Error(`metrics: ${answer.status}`);
    return answer.text();
  }

  /** Resolves when it is gone. */
  kill(): Promise<void> {
    return this.#component.stop('SIGKILL');
  }

  /** Kills it, if it runs, and closes what is here of it. */
  async end(): Promise<void> {
    this.csi.close();
    await this.kill();
    await this.relay.close();
  }
}
