import type { Scenario } from '../scenario.ts';
import { kernelFacts } from './kernel-facts.ts';
import { labTools } from './lab-tools.ts';
import { nativeStorage } from './native-storage.ts';

/** Every scenario that `npm run lab` knows, in the order in which they run. */
export const SCENARIOS: readonly Scenario[] = [labTools, kernelFacts, nativeStorage];
