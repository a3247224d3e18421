/**
 * The import rules of docs/development.md. Each folder of src names what it may use; anything else is an error.
 * `node scripts/lint.mjs --self-test` proves that every rule here fires.
 */

/** Folder of src → folders of src it may import from, besides itself. */
const LAYERS = {
  support: ['api'],
  api: ['support'],
  plan: ['api', 'support'],
  observability: ['api', 'support'],
  native: ['api', 'support'],
  kube: ['api', 'support', 'observability'],
  node: ['plan', 'api', 'support', 'observability'],
  controller: ['plan', 'api', 'support', 'observability'],
  csi: ['node', 'controller', 'plan', 'api', 'support', 'observability'],
  cli: ['node', 'plan', 'api', 'support', 'observability'],
};

const layerRules = Object.entries(LAYERS).map(([folder, allowed]) => ({
  name: `layer-${folder}`,
  comment: `src/${folder} may import only from src/{${[folder, ...allowed].join(',')}}.`,
  severity: 'error',
  from: { path: `^src/${folder}/` },
  to: { path: '^src/', pathNot: `^src/(${[folder, ...allowed].join('|')})/` },
}));

module.exports = {
  forbidden: [
    ...layerRules,
    {
      name: 'plan-is-pure',
      comment: 'The decisions use no node: module and no package: no clock, no randomness, no input or output.',
      severity: 'error',
      from: { path: '^src/plan/' },
      to: { pathNot: '^src/' },
    },
    {
      name: 'grpc-in-csi-only',
      comment: 'Nobody but the gRPC edge knows gRPC.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(csi/|main(\\.ts|/))' },
      to: { path: 'node_modules/@grpc/' },
    },
    {
      name: 'kubernetes-in-kube-only',
      comment: 'Nobody but src/kube knows the client library.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/kube/' },
      to: { path: 'node_modules/@kubernetes/' },
    },
    {
      name: 'addon-in-native-only',
      comment: 'The compiled module is loaded by its facade alone.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/native/' },
      to: { path: '\\.node$' },
    },
    {
      name: 'no-tests-in-src',
      comment: 'What ships does not depend on tests or scripts.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|scripts)/' },
    },
    {
      name: 'no-dev-packages-in-src',
      comment: 'What ships depends on "dependencies" only. The generated files of CSI name types and bring no code.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/csi/generated/' },
      to: { dependencyTypes: ['npm-dev'], pathNot: 'node_modules/@types/' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment: 'The generated protobuf types refer to themselves; nothing else may.',
      from: { path: '^src/', pathNot: '^src/csi/generated/' },
      to: { circular: true },
    },
    {
      name: 'no-unresolvable',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.mjs', '.js', '.cjs', '.json', '.node'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
