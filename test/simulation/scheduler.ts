/** Virtual time: tasks in the order in which they are due. Actors are generators that say for how many milliseconds they rest. */

export type Actor<T = void> = Generator<number, T, void>;

/** What an actor lives in: a machine, or a process on one. */
export interface Host {
  /** Goes up when everything on it dies: what was begun before never goes on. */
  readonly life: number;
  /** A paused machine does nothing before this time; then it goes on where it was. */
  readonly pausedUntil: number;
}

interface Task {
  readonly at: number;
  readonly order: number;
  readonly host: Host | undefined;
  readonly life: number;
  readonly run: () => void;
}

/** Everywhere at once, for ever: the cluster around the nodes. */
export class Scheduler {
  now = 0;
  steps = 0;
  readonly #heap: Task[] = [];
  #order = 0;
  /** Called after every step of anybody. */
  onStep: () => void = () => undefined;

  after(ms: number, run: () => void, host?: Host): void {
    this.#order += 1;
    this.#push({ at: this.now + ms, order: this.#order, host, life: host?.life ?? 0, run });
  }

  spawn(actor: Actor, host?: Host, delayMs = 0): void {
    const resume = (): void => {
      const next = actor.next();
      if (next.done !== true) this.after(next.value, resume, host);
    };
    this.after(delayMs, resume, host);
  }

  /** Runs what is due up to a time, or until told to stop. */
  runUntil(ms: number, isOver: () => boolean = () => false): void {
    for (let task = this.#heap[0]; task !== undefined && task.at <= ms; task = this.#heap[0]) {
      this.#pop();
      this.now = Math.max(this.now, task.at);
      if (task.host !== undefined && !this.#mayRun(task, task.host)) continue;
      this.steps += 1;
      task.run();
      this.onStep();
      if (isOver()) return;
    }
    this.now = Math.max(this.now, ms);
  }

  #mayRun(task: Task, host: Host): boolean {
    if (host.life !== task.life) return false;
    if (host.pausedUntil <= this.now) return true;
    this.#order += 1;
    this.#push({ ...task, at: host.pausedUntil, order: this.#order });
    return false;
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(task);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (isBefore(heap[parent]!, task)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (isBefore(last, heap[child]!)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
  }
}

const isBefore = (a: Task, b: Task): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
