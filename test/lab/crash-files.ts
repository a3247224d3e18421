/** On a tmpfs of the guest: gone with a reset, kept over the death of a process. */
export const STEPS_FILE = '/run/meshstor/steps';
export const DEATHS_FILE = '/run/meshstor/kill-after';
