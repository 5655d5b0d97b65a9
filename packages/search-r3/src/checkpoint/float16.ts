/**
 * Half-precision storage formats: bfloat16 (the upper half of a float32) and IEEE 754 binary16. Narrowing rounds to
 * nearest, ties to even, and keeps NaN. Node 20 has no Float16Array.
 */

/** The float32 bit patterns behind an array, without a copy. */
const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** `out[i]` = bfloat16 of `values[i]`. */
export function toBFloat16(values: Float32Array, out: Uint16Array): void {
  const source = bits(values);
  for (let i = 0; i < source.length; i++) {
    const x = source[i] as number;
    // A NaN with its payload in the lower half would become infinity: set the quiet bit instead of rounding.
    out[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
}

/** `out[i]` = the float32 with the value of bfloat16 `values[i]`, exactly. `values` may be the second half of `out`. */
export function fromBFloat16(values: Uint16Array, out: Float32Array): void {
  const target = bits(out);
  for (let i = 0; i < values.length; i++) target[i] = (values[i] as number) << 16;
}

/** `out[i]` = binary16 of `values[i]`; magnitudes from 65520 up become infinity. */
export function toFloat16(values: Float32Array, out: Uint16Array): void {
  const source = bits(values);
  for (let i = 0; i < source.length; i++) out[i] = float16Bits(source[i] as number);
}

function float16Bits(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520, half-way between the largest finite and 2^16
  if (magnitude >= 0x38800000) {
    // Normal from 2^-14 on: the exponent's bias drops from 127 to 15, the mantissa loses 13 bits.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // up to 2^-25, half the smallest subnormal: ties to zero
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23);
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (rest > half || (rest === half && kept & 1) ? kept + 1 : kept);
}

let float16Values: Float32Array | undefined;

/** The values of all patterns. */
function float16Table(): Float32Array {
  float16Values ??= Float32Array.from({ length: 0x10000 }, (_, pattern) => float16Value(pattern));
  return float16Values;
}

/** `out[i]` = the float32 with the value of binary16 `values[i]`, exactly. `values` may be the second half of `out`. */
export function fromFloat16(values: Uint16Array, out: Float32Array): void {
  const table = float16Table();
  for (let i = 0; i < values.length; i++) out[i] = table[values[i] as number] as number;
}

/** The value of the little-endian binary16 at a position in bytes. */
export function float16At(bytes: Uint8Array, at: number): number {
  return float16Table()[(bytes[at] as number) | ((bytes[at + 1] as number) << 8)] as number;
}

function float16Value(pattern: number): number {
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern >>> 10) & 0x1f;
  const mantissa = pattern & 0x3ff;
  if (exponent === 0x1f) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}
