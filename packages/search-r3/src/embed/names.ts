/** The names that settings choose from. Loads nothing, so that the help of a command is quick. */

/** How vectors of one query become one; see `EmbedFusion`. */
export const EMBED_FUSIONS = ['mean', 'direct+mean'] as const;
