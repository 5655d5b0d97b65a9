/**
 * Weights to fewer bits, symmetrically: the largest magnitude of a column (int8) or of a block of a column (4 and 8 bits)
 * becomes the largest step, and every weight is rounded to the nearest one.
 */

/** [outputs, inputs] as int8 [inputs, outputs], the layout of integer products, and the value of a step by output. */
export function quantizeColumns(
  weight: Float32Array,
  outputs: number,
  inputs: number,
): { values: Int8Array; scales: Float32Array } {
  const values = new Int8Array(weight.length);
  const scales = new Float32Array(outputs);
  // Transposed in tiles of columns, so that writes stay within a few cache lines.
  const tile = 64;
  const inverse = new Float32Array(tile);
  for (let first = 0; first < outputs; first += tile) {
    const last = Math.min(first + tile, outputs);
    for (let output = first; output < last; output++) {
      let largest = 0;
      for (let i = output * inputs; i < (output + 1) * inputs; i++) {
        const magnitude = Math.abs(weight[i] as number);
        if (magnitude > largest) largest = magnitude;
      }
      scales[output] = largest / 127;
      inverse[output - first] = largest === 0 ? 0 : 127 / largest;
    }
    for (let input = 0; input < inputs; input++) {
      for (let output = first; output < last; output++) {
        const scaled = (weight[output * inputs + input] as number) * (inverse[output - first] as number);
        values[input * outputs + output] = nearest(scaled);
      }
    }
  }
  return { values, scales };
}

/** [outputs, inputs] in blocks along the inputs, as `blockProduct` takes them; a last block is filled with zeros. */
export function quantizeBlocks(
  weight: Float32Array,
  outputs: number,
  inputs: number,
  bits: 4 | 8,
  block: number,
): { packed: Uint8Array; scales: Float32Array } {
  const blocks = Math.ceil(inputs / block);
  const bytes = (block * bits) / 8;
  const packed = new Uint8Array(outputs * blocks * bytes);
  const scales = new Float32Array(outputs * blocks);
  const zero = 2 ** (bits - 1);
  const most = zero - 1;
  for (let output = 0; output < outputs; output++) {
    for (let b = 0; b < blocks; b++) {
      const start = output * inputs + b * block;
      const length = Math.min(block, inputs - b * block);
      let largest = 0;
      for (let i = start; i < start + length; i++) {
        const magnitude = Math.abs(weight[i] as number);
        if (magnitude > largest) largest = magnitude;
      }
      const at = output * blocks + b;
      scales[at] = largest / most;
      const inverse = largest === 0 ? 0 : most / largest;
      for (let i = 0; i < block; i++) {
        const step = zero + (i < length ? nearest((weight[start + i] as number) * inverse) : 0);
        if (bits === 8) packed[at * bytes + i] = step;
        else
          packed[at * bytes + (i >> 1)] = (packed[at * bytes + (i >> 1)] as number) | (step << (4 * (i & 1)));
      }
    }
  }
  return { packed, scales };
}

/** `Math.round`, but symmetric around zero and without its slow path. */
const nearest = (x: number): number => (x < 0 ? -((0.5 - x) | 0) : (x + 0.5) | 0);
