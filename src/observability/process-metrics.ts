import { readdirSync } from 'node:fs';
import type { Registry } from 'prom-client';
import { Counter, Gauge } from 'prom-client';

/** What is known of this process, read when somebody scrapes; under the names that dashboards for Prometheus expect. */
export function processMetrics(registers: Registry[]): void {
  const startedAt = Date.now() / 1000 - process.uptime();
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss());
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time, user and system.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  gauge('process_start_time_seconds', 'Start of the process, seconds since the epoch.', () => startedAt);
  gauge('process_open_fds', 'Open file descriptors.', openDescriptors);
  gauge('nodejs_heap_size_used_bytes', 'Used heap of the engine.', () => process.memoryUsage().heapUsed);
  gauge(
    'nodejs_active_resources',
    'Handles and requests that the event loop waits for.',
    () => process.getActiveResourcesInfo().length,
  );
}

function openDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}
