/** Lengths, indices and slices of sequences. */
import { intArgument } from './arguments.js';
import { Range, Tuple } from './containers.js';
import { raise } from './errors.js';
import { codePoints, isFlat, textLength } from './text.js';
import { isList, PyObject, typeName, Undefined, type Value } from './values.js';

/** `len(value)`; undefined if Python raises a TypeError. */
export function lengthOf(value: Value): number | undefined {
  if (typeof value === 'string') return textLength(value);
  if (isList(value)) return value.length;
  return value instanceof PyObject ? value.length() : undefined;
}

/** `sequence[index]`; undefined if the value is not a sequence or the index is out of range. */
export function itemAt(sequence: Value, index: number): Value | undefined {
  const length = lengthOf(sequence) ?? 0;
  const place = index < 0 ? index + length : index;
  if (place < 0 || place >= length) return undefined;
  if (typeof sequence === 'string') return isFlat(sequence) ? sequence[place] : codePoints(sequence)[place];
  if (isList(sequence)) return sequence[place];
  if (sequence instanceof Tuple) return sequence.items[place];
  return sequence instanceof Range ? sequence.at(place) : undefined;
}

interface Bounds {
  start: number;
  stop: number;
  step: number;
}

/** `slice(start, stop, step).indices(length)`. */
export function sliceBounds(length: number, start: Value, stop: Value, step: Value): Bounds {
  const what = 'slice indices';
  const by = step === null ? 1 : intArgument(step, what);
  if (by === 0) raise('slice step cannot be zero');
  const [low, high] = by > 0 ? [0, length] : [-1, length - 1];
  const clamp = (value: Value, otherwise: number) => {
    if (value === null) return otherwise;
    const index = intArgument(value, what);
    return Math.min(high, Math.max(low, index < 0 ? index + length : index));
  };
  return { start: clamp(start, by > 0 ? low : high), stop: clamp(stop, by > 0 ? high : low), step: by };
}

function picked<T>(items: ArrayLike<T>, { start, stop, step }: Bounds): T[] {
  const result: T[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) result.push(items[i]!);
  return result;
}

/** `value[start:stop:step]`. */
export function sliced(value: Value, start: Value, stop: Value, step: Value): Value {
  if (typeof value === 'string') {
    const points = isFlat(value) ? value : codePoints(value);
    const bounds = sliceBounds(points.length, start, stop, step);
    if (bounds.step !== 1) return picked(points, bounds).join('');
    const part = points.slice(bounds.start, Math.max(bounds.start, bounds.stop));
    return typeof part === 'string' ? part : part.join('');
  }
  if (isList(value)) return picked(value, sliceBounds(value.length, start, stop, step));
  if (value instanceof Tuple) {
    return new Tuple(picked(value.items, sliceBounds(value.items.length, start, stop, step)));
  }
  if (value instanceof Range) {
    const bounds = sliceBounds(value.length(), start, stop, step);
    const at = (index: number) => value.start + index * value.step;
    return new Range(at(bounds.start), at(bounds.stop), value.step * bounds.step);
  }
  if (value instanceof Undefined) return value.fail();
  // A dict looks up keys, and a slice cannot be a key.
  return raise(`'${typeName(value)}' object is not subscriptable by a slice`);
}
