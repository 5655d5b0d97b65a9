/** How many cases a test draws: small counts in `npm test`, full ones in `npm run test:full` (TEST_SCALE=full). */
export const FULL = process.env.TEST_SCALE === 'full';

export function scaled(small: number, full: number): number {
  return FULL ? full : small;
}
