/** A selective environment on forty documents with vectors set by hand, and rollouts near some of them. */
import {
  type RefreshReport,
  type RolloutBatch,
  SelectiveEnvironment,
  type SelectiveOptions,
} from 'search-r3/environment';
import { randomStream } from 'search-r3/run';
import { afterEach } from 'vitest';
import { unit } from './drifting.js';
import { dot } from './reference.js';

const DIMENSION = 5;
export const COUNT = 40;
const IDS = Array.from({ length: COUNT }, (_, i) => `d${i}`);
export const ALL = [...IDS.keys()];

export type Rows = readonly (readonly number[])[];

export const NONE: RolloutBatch = { vectors: new Float32Array(), relevant: [] };
/** Options without a drift model. */
export const still = { map: false, kernel: false };

/** Random vectors from the stream with this label. */
export function drawing(label: string) {
  const random = randomStream(8, label);
  const normals = () => Array.from({ length: DIMENSION }, () => random.normal());
  const near = (x: readonly number[], size: number) => unit(x.map((value) => value + size * random.normal()));
  return {
    random,
    normals,
    units: () => Array.from({ length: COUNT }, () => unit(normals())),
    shaken: (rows: Rows, size: number) => rows.map((x) => near(x, size)),
    /** Rollouts near the positive of each, of `rows`. */
    rolloutsNear(rows: Rows, positives: readonly number[], size: number) {
      const queries = positives.map((i) => near(rows[i]!, size));
      const batch: RolloutBatch = {
        vectors: Float32Array.from(queries.flat()),
        relevant: positives.map((i) => new Map([[`d${i}`, 1]])),
      };
      return { queries, positives, batch };
    },
  };
}

const made: SelectiveEnvironment[] = [];
afterEach(async () => {
  for (const environment of made.splice(0)) await environment.dispose();
});

/** An environment on a corpus whose vectors are set by hand. */
export async function environmentOf(options: SelectiveOptions, first: Rows, texts?: string[]) {
  const at = { vectors: first };
  const row = (id: string) => Number(id.slice(1));
  const encode = async (ids: readonly string[]) =>
    Float32Array.from(ids.flatMap((id) => [...at.vectors[row(id)]!]));
  const environment = await SelectiveEnvironment.create(
    IDS,
    { dimension: DIMENSION, encode, ...(texts !== undefined && { text: (id) => texts[row(id)]! }) },
    options,
  );
  made.push(environment);
  await environment.refresh(0, NONE);
  const now = () => IDS.map((id) => environment.provenance(id)!);
  return { at, environment, now };
}
export const versionsOf = (documents: readonly { version: number }[]) =>
  documents.map(({ version }) => version);
export const encodedBy = ({ encoded }: RefreshReport) => Object.values(encoded).reduce((a, b) => a + b, 0);
export const scoresOf = (queries: Rows, rows: Rows) => queries.map((query) => rows.map((x) => dot(query, x)));
