/**
 * The direction of imports (docs: "the rooms are read from top to bottom"). A folder in packages/search-r3/src is a
 * room; a file imports from its own room and from the rooms above it in ROOMS, never from one below.
 *
 * TypeScript 7 has no compiler API that dependency-cruiser could use, so the sources are parsed with swc, which sees
 * type-only imports too (the compiled JavaScript would not).
 */
const ROOMS = [
  'run',
  'tokenizer',
  'checkpoint',
  'model',
  'generate',
  'embed',
  'vectors',
  'dataset',
  'evaluate',
  'environment',
  'sft',
  'pretrain',
  'rl',
  'pipeline',
  'api',
  'store',
  'cluster',
  'serve',
  'cli',
];
const SOURCE = '^packages/search-r3/src/';

const roomRules = ROOMS.slice(0, -1).map((room, index) => ({
  name: `room-order-${room}`,
  comment: `${room} may import from: ${ROOMS.slice(0, index + 1).join(', ')}.`,
  severity: 'error',
  from: { path: `${SOURCE}${room}/` },
  to: { path: `${SOURCE}(${ROOMS.slice(index + 1).join('|')})/` },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...roomRules,
    {
      name: 'unlisted-room',
      comment: 'A new folder in packages/search-r3/src needs a place in the order: add it to ROOMS.',
      severity: 'error',
      from: { path: `${SOURCE}(?!(${ROOMS.join('|')})/)[^/]+/` },
      to: {},
    },
    {
      name: 'engine-stands-alone',
      comment: 'onnx-grad knows nothing of language models.',
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
