/** Environment variables that change a benchmark. */

/** The whole numbers of a variable such as `1,2`; undefined if it is not set. @throws Error for anything else. */
export function numbersOf(variable: string): number[] | undefined {
  const given = process.env[variable];
  if (given === undefined) return undefined;
  if (/^\d+(,\d+)*$/.test(given)) return given.split(',').map(Number);
  throw new Error(`${variable}: expected whole numbers separated by commas, found ${given}`);
}

/** The words of a variable such as `a,b`, each one of `known`; all of these if it is not set. @throws Error for any other. */
export function wordsOf<Word extends string>(variable: string, known: readonly Word[]): readonly Word[] {
  const given = process.env[variable];
  if (given === undefined) return known;
  const asked = given.split(',');
  const wrong = asked.find((word) => !known.some((each) => each === word));
  if (wrong !== undefined)
    throw new Error(`${variable}: expected some of ${known.join(', ')}, found ${wrong}`);
  return known.filter((word) => asked.includes(word));
}
