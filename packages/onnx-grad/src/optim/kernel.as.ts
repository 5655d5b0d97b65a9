/**
 * The elementwise kernels of the optimiser, in AssemblyScript with 128-bit SIMD. `npm run build` compiles this file to
 * `dist/optim/kernel.wasm`; TypeScript and biome ignore it. The kernels take byte addresses in the module's imported
 * memory. `kernel.ts` copies other arrays, chunk by chunk, to and from four fixed scratch areas of CHUNK elements,
 * because 32-bit WebAssembly memory cannot hold all of a large model.
 *
 * Lengths are rounded up to whole vectors of four: up to three elements behind the end are computed too and are
 * garbage.
 */

/** Elements per chunk: four areas of 32 KiB stay in the second-level cache (2,048 to 16,384 measured the same). */
export const CHUNK: i32 = 8192;

/** 2^-126. */
const SMALLEST_NORMAL: f32 = 1.1754943508222875e-38;

/** Byte addresses of the scratch areas. */
export const AREA_0: usize = memory.data(CHUNK * 4, 16);
export const AREA_1: usize = memory.data(CHUNK * 4, 16);
export const AREA_2: usize = memory.data(CHUNK * 4, 16);
export const AREA_3: usize = memory.data(CHUNK * 4, 16);

/**
 * One AdamW update of `length` elements at four addresses.
 *
 *   g = scale * gradient
 *   m = beta1 * m + (1 - beta1) * g
 *   v = beta2 * v + (1 - beta2) * g * g
 *   p = p - (decay * p + stepSize * m / (sqrt(v) * inverseCorrection + epsilon))
 *
 * with decay = learning rate * weight decay, stepSize = learning rate / (1 - beta1^t) and inverseCorrection = 1 /
 * sqrt(1 - beta2^t). Moments below the smallest normal number become zero: subnormal numbers are slow on x86 (a whole
 * update measured twelve times slower). Moments of parameters without gradient decay into that range and would stay
 * there, because 0.9 times the smallest subnormal rounds to itself.
 */
export function adamw(
  parameter: usize,
  first: usize,
  second: usize,
  gradient: usize,
  length: i32,
  scale: f32,
  beta1: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
  stepSize: f32,
  inverseCorrection: f32,
  epsilon: f32,
  decay: f32,
): void {
  const smallest = f32x4.splat(SMALLEST_NORMAL);
  const end: usize = (<usize>length * 4 + 15) & ~15;
  for (let i: usize = 0; i < end; i += 16) {
    const p = v128.load(parameter + i);
    const g = f32x4.mul(v128.load(gradient + i), f32x4.splat(scale));
    let m = f32x4.add(
      f32x4.mul(v128.load(first + i), f32x4.splat(beta1)),
      f32x4.mul(g, f32x4.splat(oneMinusBeta1)),
    );
    let v = f32x4.add(
      f32x4.mul(v128.load(second + i), f32x4.splat(beta2)),
      f32x4.mul(f32x4.mul(g, f32x4.splat(oneMinusBeta2)), g),
    );
    // Masks out what is too small, so that NaN stays.
    m = v128.andnot(m, f32x4.lt(f32x4.abs(m), smallest));
    v = v128.andnot(v, f32x4.lt(v, smallest));
    const denominator = f32x4.add(
      f32x4.mul(f32x4.sqrt(v), f32x4.splat(inverseCorrection)),
      f32x4.splat(epsilon),
    );
    const change = f32x4.add(
      f32x4.mul(p, f32x4.splat(decay)),
      f32x4.div(f32x4.mul(m, f32x4.splat(stepSize)), denominator),
    );
    v128.store(first + i, m);
    v128.store(second + i, v);
    v128.store(parameter + i, f32x4.sub(p, change));
  }
}

/** Sum of the squares at an address, in float64, which no float32 overflows or underflows. */
export function sumOfSquares(array: usize, length: i32): f64 {
  const vectors: i32 = length & ~3;
  let a = f64x2.splat(0);
  let b = f64x2.splat(0);
  for (let i: i32 = 0; i < vectors; i += 4) {
    const x = v128.load(array + (<usize>i << 2));
    const low = f64x2.promote_low_f32x4(x);
    const high = f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1));
    a = f64x2.add(a, f64x2.mul(low, low));
    b = f64x2.add(b, f64x2.mul(high, high));
  }
  a = f64x2.add(a, b);
  let total = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
  for (let i: i32 = vectors; i < length; i++) {
    const x = <f64>load<f32>(array + (<usize>i << 2));
    total += x * x;
  }
  return total;
}

/** target += weight * source, both addresses. */
export function addScaled(target: usize, source: usize, length: i32, weight: f32): void {
  const end: usize = (<usize>length * 4 + 15) & ~15;
  for (let i: usize = 0; i < end; i += 16) {
    const product = f32x4.mul(v128.load(source + i), f32x4.splat(weight));
    v128.store(target + i, f32x4.add(v128.load(target + i), product));
  }
}
