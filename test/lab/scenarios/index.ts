import type { Scenario } from '../scenario.ts';
import { csiSanity } from './csi-sanity.ts';
import { driverBlip } from './driver-blip.ts';
import { driverCrash } from './driver-crash.ts';
import { driverDrives } from './driver-drives.ts';
import { driverExpand } from './driver-expand.ts';
import { driverHeal } from './driver-heal.ts';
import { driverIdle } from './driver-idle.ts';
import { driverLife } from './driver-life.ts';
import { driverPause } from './driver-pause.ts';
import { driverReplace } from './driver-replace.ts';
import { driverReturn } from './driver-return.ts';
import { driverTakeover } from './driver-takeover.ts';
import { image } from './image.ts';
import { kernelFacts } from './kernel-facts.ts';
import { kubernetesLife } from './kubernetes-life.ts';
import { labTools } from './lab-tools.ts';
import { nativeStorage } from './native-storage.ts';

/** What `npm test` runs, in this order, in one boot. */
export const SCENARIOS: readonly Scenario[] = [
  labTools,
  kernelFacts,
  nativeStorage,
  driverLife,
  driverExpand,
  driverDrives,
  driverReturn,
  driverHeal,
  driverReplace,
  driverTakeover,
];

/** Many minutes on two cores, a measurement, or in need of Go: run by name, `npm run lab -- --scenario driver-crash`. */
export const LONG_SCENARIOS: readonly Scenario[] = [
  driverIdle,
  driverPause,
  driverBlip,
  driverCrash,
  csiSanity,
  kubernetesLife,
  image,
];
