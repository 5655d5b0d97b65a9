/**
 * Channels with outliers, made smaller before quantisation and their weights larger by as much (SmoothQuant, Xiao et al.
 * 2022, arXiv 2211.10438, equation 4 with a strength of 1/2): the product is the same, but the steps of a row are no
 * longer set by a few channels.
 */

/** The largest magnitude of each column of a matrix [rows, width]. */
export function columnMagnitudes(matrix: Float32Array, width: number): Float32Array {
  const largest = new Float32Array(width);
  for (let at = 0; at < matrix.length; at += width) {
    for (let j = 0; j < width; j++) {
      const magnitude = Math.abs(matrix[at + j] as number);
      if (magnitude > (largest[j] as number)) largest[j] = magnitude;
    }
  }
  return largest;
}

/**
 * What to divide each channel by.
 * @param activations largest magnitude of each channel on the calibration texts.
 * @param weights of all linear layers that read the channels, largest magnitude of each channel.
 */
export function smoothingFactors(activations: Float32Array, weights: readonly Float32Array[]): Float32Array {
  return activations.map((activation, j) => {
    const weight = Math.max(...weights.map((magnitudes) => magnitudes[j] as number));
    // A channel that is silent, or that nothing reads, stays as it is.
    return activation < 1e-6 || weight < 1e-6 ? 1 : Math.sqrt(activation / weight);
  });
}

/** Multiplies each column of a matrix [rows, width] in place. */
export function scaleColumns(matrix: Float32Array, factors: Float32Array): void {
  const width = factors.length;
  for (let at = 0; at < matrix.length; at += width) {
    for (let j = 0; j < width; j++) matrix[at + j] = (matrix[at + j] as number) * (factors[j] as number);
  }
}

/** Divides each row of a matrix [rows, width] in place; of a vector, each element. */
export function divideRows(matrix: Float32Array, factors: Float32Array): void {
  const width = matrix.length / factors.length;
  for (const [row, factor] of factors.entries()) {
    for (let i = row * width; i < (row + 1) * width; i++) matrix[i] = (matrix[i] as number) / factor;
  }
}
