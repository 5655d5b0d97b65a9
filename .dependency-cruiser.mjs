/**
 * The direction of imports. Each folder in packages/search-r3/src is a module; a file imports from its own module and
 * from those above it in MODULES, never from one below.
 *
 * TypeScript 7 has no compiler API that dependency-cruiser could use, so the sources are parsed with swc, which sees
 * type-only imports too (the compiled JavaScript would not).
 */
const MODULES = [
  'run',
  'tokenizer',
  'checkpoint',
  'decoder',
  'generate',
  'train',
  'model',
  'embed',
  'vectors',
  'dataset',
  'evaluate',
  'prompt-tuning',
  'environment',
  'pretrain',
  'sft',
  'targets',
  'rl',
  'pipeline',
  'api',
  'cli',
];
const SOURCE = '^packages/search-r3/src/';

const moduleRules = MODULES.slice(0, -1).map((module, index) => ({
  name: `module-order-${module}`,
  comment: `${module} may import from: ${MODULES.slice(0, index + 1).join(', ')}.`,
  severity: 'error',
  from: { path: `${SOURCE}${module}/` },
  to: { path: `${SOURCE}(${MODULES.slice(index + 1).join('|')})/` },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...moduleRules,
    {
      name: 'unlisted-module',
      comment: 'A new folder in packages/search-r3/src needs a place in the order: add it to MODULES.',
      severity: 'error',
      from: { path: `${SOURCE}(?!(${MODULES.join('|')})/)[^/]+/` },
      to: {},
    },
    {
      name: 'engine-stands-alone',
      comment: 'onnx-grad knows nothing about language models.',
      severity: 'error',
      from: { path: '^packages/onnx-grad/' },
      to: { path: '(^|/)(packages|node_modules)/search-r3(/|$)|^search-r3(/|$)' },
    },
    {
      name: 'no-package-root-inside',
      comment:
        'Inside search-r3, import the file, not the package by its own name: that would hide the direction.',
      severity: 'error',
      from: { path: SOURCE },
      to: { path: '(^|/)packages/search-r3/dist/|(^|/)node_modules/search-r3(/|$)|^search-r3(/|$)' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no-unresolvable',
      comment: 'The imported file or package does not exist (packages that are not built yet aside).',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^(onnx-grad|search-r3)(/|$)' },
    },
  ],
  options: {
    parser: 'swc',
    doNotFollow: { path: '(^|/)(node_modules|dist)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'],
    },
  },
};
