/** Environment variables that change a benchmark. */

/** The whole numbers of a variable such as `1,2`; undefined if it is not set. @throws Error for anything else. */
export function numbersOf(variable: string): number[] | undefined {
  const given = process.env[variable];
  if (given === undefined) return undefined;
  if (/^\d+(,\d+)*$/.test(given)) return given.split(',').map(Number);
  throw new Error(`${variable}: expected whole numbers separated by commas, found ${given}`);
}
