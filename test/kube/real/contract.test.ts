import { describeContract } from '../contract/index.ts';
import { sharedControlPlane } from './shared.ts';

describeContract('kube-apiserver', async () => {
  const plane = await sharedControlPlane();
  return {
    kubeconfig: plane.kubeconfig,
    kubectl: plane.kubectl,
    compact: () => plane.compact(),
    close: async () => Promise.resolve(),
  };
});
