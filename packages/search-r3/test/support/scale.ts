/**
 * How many cases a test draws: the first number in `npm test`, the second in `npm run test:full` (TEST_SCALE=full).
 * Write both as literals: `tools/test-full.ts` lists them in docs/test-full.md.
 */
export const FULL = process.env.TEST_SCALE === 'full';

export function scaled(small: number, full: number): number {
  return FULL ? full : small;
}
