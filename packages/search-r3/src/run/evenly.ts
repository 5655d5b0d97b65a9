/** Some of many, where more would tell little new. */

/** `count` of `items`, spread evenly over all and in their order, the first one among them; all where there are fewer. */
export function evenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)] as T);
}
