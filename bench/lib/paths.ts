/** Folders that the benchmarks use. They run from dist/bench. */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** What the `real` benchmark makes once: inputs, and models. */
export const REAL_CACHE = join(ROOT, '.cache/bench-real');

/** The quantised weights of these models. */
export const QUANTISED = join(REAL_CACHE, 'quantised');

/** SciFact in the BEIR layout: the folder named by SCIFACT, or ../shared/data/scifact. It may be missing. */
export const scifactFolder = (): string =>
  resolve(process.env.SCIFACT ?? join(ROOT, '../shared/data/scifact'));
