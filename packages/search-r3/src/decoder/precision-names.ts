/** How a model computes. Loads nothing. */

/**
 * `f32`; `int8`: weights by output channel, activations by row, the fastest where several rows are computed at once;
 * `int8-block` and `int4`: weights in blocks of 32, closer to f32 or smaller, but slower.
 */
export const PRECISIONS = ['f32', 'int8', 'int8-block', 'int4'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** The bits of a precision that stores weights in blocks. */
export const BLOCK_BITS = { 'int8-block': 8, int4: 4 } as const;
