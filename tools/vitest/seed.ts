/**
 * Makes property tests draw the same cases on every run. TEST_SEED draws others; fast-check prints the seed and the
 * path of a case that fails.
 */
import { configureGlobal } from 'fast-check';

configureGlobal({ seed: Number(process.env.TEST_SEED ?? 1) });
