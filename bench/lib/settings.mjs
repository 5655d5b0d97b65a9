/** What a benchmark is told beside its name. */

/** The whole numbers of an environment variable such as `1,2`; undefined where it is not set. */
export function numbersOf(variable) {
  const given = process.env[variable];
  if (given === undefined) return undefined;
  if (/^\d+(,\d+)*$/.test(given)) return given.split(',').map(Number);
  throw new Error(`${variable}: expected whole numbers with commas between them, found ${given}`);
}
