/** Which queries stages learn from, and which are held out to watch a run by and to tune fusions on. */
import { isDeepStrictEqual } from 'node:util';
import type { QuerySplit } from '../../checkpoint/index.js';
import type { Collection, Qrels } from '../../dataset/index.js';
import { InputError, randomStream } from '../../run/index.js';
import type { Settings } from '../settings.js';

/** The name that BEIR collections give the split: `qrels/dev.tsv`. */
export const VALIDATION_SPLIT = 'dev';

/**
 * The collection with a split `dev`: its own, or a share of `train`, which loses those queries. Without either, as it
 * is. The same seed holds out the same queries, for training and evaluation alike.
 */
export function withValidation(collection: Collection, share: number, seed: number): Collection {
  const train = collection.qrels.get('train');
  if (collection.qrels.has(VALIDATION_SPLIT) || train === undefined) return collection;
  // The label of the stream keeps the setting's old name: the same seed holds out the same queries as it always has.
  const held = new Set(
    randomStream(seed, 'development').sample([...train.keys()], Math.round(share * train.size)),
  );
  if (held.size === 0) return collection;
  const part = (inside: boolean): Qrels => new Map([...train].filter(([id]) => held.has(id) === inside));
  const qrels = new Map([...collection.qrels, ['train', part(false)], [VALIDATION_SPLIT, part(true)]]);
  return { ...collection, qrels };
}

/** How settings share the training queries out. */
export const querySplit = ({
  seed,
  validation,
  queries,
}: Pick<Settings, 'seed' | 'validation' | 'queries'>): QuerySplit => ({
  seed,
  validation: validation.share,
  sft: queries.sftShare,
});

/**
 * How to share them out for a model: as for the stages that have trained it, whatever the settings say, so that no query
 * held out then is learnt from now, and none learnt from then is one to tune on or to be rewarded for.
 */
export function splitFor(
  { split }: { split?: QuerySplit | undefined },
  settings: Pick<Settings, 'seed' | 'validation' | 'queries'>,
  onNote: (text: string) => void = () => {},
): QuerySplit {
  const own = querySplit(settings);
  if (split === undefined || isDeepStrictEqual(split, own)) return own;
  onNote(
    `Training queries are split as when this model was trained (seed ${split.seed}, validation.share ` +
      `${split.validation}, queries.sftShare ${split.sft}), so that held-out queries stay held out.`,
  );
  return split;
}

/** The collection as stages learn from it, and fusions of what they learnt are tuned on it. */
export function learnable(
  collection: Collection,
  allowMissing: boolean,
  { seed, validation }: QuerySplit,
): Collection {
  const known = allowMissing ? withoutMissing(collection) : collection;
  return withValidation(known, validation, seed);
}

/** The collection without judgements that name a document or query it does not have. */
export function withoutMissing(collection: Collection): Collection {
  const documents = new Set(collection.corpus.map(({ id }) => id));
  const known = (qrels: Qrels): Qrels =>
    new Map(
      [...qrels].flatMap(([query, grades]) => {
        const kept = new Map([...grades].filter(([document]) => documents.has(document)));
        return kept.size === 0 || !collection.queries.has(query) ? [] : [[query, kept] as const];
      }),
    );
  return {
    ...collection,
    qrels: new Map([...collection.qrels].map(([split, qrels]) => [split, known(qrels)])),
  };
}

/** The judgements of a split. @throws InputError naming the splits there are. */
export function splitOf(collection: Collection, split: string): Qrels {
  const qrels = collection.qrels.get(split);
  if (qrels !== undefined) return qrels;
  const found = [...collection.qrels.keys()].join(', ') || 'no splits';
  const remedy = `Its judgements are read from qrels/${split}.tsv.`;
  throw new InputError({
    source: 'collection',
    field: 'split',
    expected: `the split ${split}`,
    found,
    remedy,
  });
}
