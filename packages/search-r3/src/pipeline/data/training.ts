/** What training starts from: a collection, its training queries, and the fingerprint of what training reads. */
import { createHash } from 'node:crypto';
import type { QuerySplit } from '../../checkpoint/index.js';
import type { Collection } from '../../dataset/index.js';
import type { Settings } from '../settings.js';
import { loadCollection } from './load.js';
import { type TrainingData, trainingData } from './queries.js';
import { learnable, querySplit } from './split.js';

export interface TrainingContext {
  /** With a split `dev` where there is one to be had, and without judgements of missing documents. */
  collection: Collection;
  data: TrainingData;
  /** SHA-256 of the collection, in hex: a run is not resumed on other data. */
  fingerprint: string;
  split: QuerySplit;
}

type DataSettings = Settings & { data: string };

/**
 * Loads the collection and draws the queries of both stages, shared out as `split` says. @throws InputError on anything
 * wrong with the data.
 */
export async function loadTraining(
  settings: DataSettings,
  split = querySplit(settings),
): Promise<TrainingContext> {
  const { data: source, allowMissing, excludeSelf, analyzer, queries } = settings;
  const loaded = await loadCollection(source, split.seed, { allowMissing });
  const collection = learnable(loaded, allowMissing, split);
  const { sftSplit, rlSplit, titlePairs } = queries;
  const data = trainingData(collection, {
    titlePairs,
    excludeSelf,
    analyzer,
    sftShare: split.sft,
    ...(sftSplit !== undefined && { sftSplit }),
    ...(rlSplit !== undefined && { rlSplit }),
    seed: split.seed,
  });
  return { collection, data, fingerprint: collectionFingerprint(loaded), split };
}

/** SHA-256, in hex, of what training reads of a collection: metadata of documents is none of it. */
export function collectionFingerprint({ corpus, queries, qrels }: Collection): string {
  const hash = createHash('sha256');
  const add = (value: unknown) => hash.update(`${JSON.stringify(value)}\n`);
  for (const { id, title, text } of corpus) add([id, title ?? '', text]);
  for (const { id, text } of queries.values()) add([id, text]);
  for (const [split, judgements] of qrels) {
    for (const [query, grades] of judgements) add([split, query, [...grades]]);
  }
  return hash.digest('hex');
}

/** Settings about the reading of collections, those that are not the default: runs of before had no others. */
export const readingSettings = ({ allowMissing, excludeSelf, analyzer }: Settings) => ({
  ...(allowMissing && { allowMissing }),
  ...(excludeSelf !== 'auto' && { excludeSelf }),
  ...(analyzer !== 'auto' && { analyzer }),
});
