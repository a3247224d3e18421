/** Carries out the steps of publishing on the model. */
import type { PublishStep } from '../../src/plan/steps.ts';
import type { ModelNode } from './model-cluster.ts';
import { must } from './model-rules.ts';

export function applyPublishStep(node: ModelNode, step: PublishStep): void {
  switch (step.kind) {
    case 'bind':
      must(node.array?.readOnly === false, 'only a running array is published');
      node.mounts.push({
        mountPoint: step.target,
        devNumber: '9:127',
        isOurs: true,
        fsType: 'xfs',
        readOnly: step.readOnly,
      });
      return;
    case 'unmount':
      node.mounts = node.mounts.filter(({ mountPoint }) => mountPoint !== step.target);
      return;
    case 'removePath':
      must(
        !node.mounts.some(({ mountPoint }) => mountPoint === step.path),
        'a path is removed only when nothing is mounted there',
      );
      return;
  }
}
