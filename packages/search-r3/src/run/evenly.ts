/** A sample of a long list. */

/** `count` evenly spaced `items` in their order, including the first; all of them if there are fewer. */
export function evenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)] as T);
}
