import type { Scenario } from '../scenario.ts';
import { driverCrash } from './driver-crash.ts';
import { driverDrives } from './driver-drives.ts';
import { driverIdle } from './driver-idle.ts';
import { driverLife } from './driver-life.ts';
import { kernelFacts } from './kernel-facts.ts';
import { labTools } from './lab-tools.ts';
import { nativeStorage } from './native-storage.ts';

/** Every scenario that `npm run lab` knows, in the order in which they run. */
export const SCENARIOS: readonly Scenario[] = [
  labTools,
  kernelFacts,
  nativeStorage,
  driverLife,
  driverIdle,
  driverDrives,
  driverCrash,
];
