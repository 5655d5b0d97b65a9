/** Splits of Atlas's queries by person and company, and the world as a collection. */
import { z } from 'zod';
import { InputError } from '../../run/errors.js';
import { type RandomStream, randomStream } from '../../run/random.js';
import { validate } from '../../run/validate.js';
import type { Collection } from '../types.js';
import { type AtlasQuery, atlasQueries } from './queries.js';
import { QUERY_KINDS } from './wording.js';
import type { AtlasWorld } from './world.js';

export const ATLAS_SPLITS = ['sft', 'rl', 'dev', 'test'] as const;
export type AtlasSplit = (typeof ATLAS_SPLITS)[number];

export interface AtlasSplitOptions {
  /** Number of test queries; default 400, or all if the world has fewer. */
  testQueries?: number;
  /** Number of dev queries; default 100, or all if the world has fewer. */
  devQueries?: number;
  /**
   * `kind` (default): equal numbers of test and dev queries of each kind, as far as possible. `none`: uniform over all
   * queries, of which few are about companies.
   */
  balance?: 'kind' | 'none';
}

const schema = z.strictObject({
  testQueries: z.int().min(1).optional(),
  devQueries: z.int().min(0).optional(),
  balance: z.enum(['kind', 'none']).default('kind'),
});

const DEFAULT_QUERIES = { test: 400, dev: 100 } as const;

/**
 * Splits the queries. `sft` and `rl` each have all queries about half of the training people and companies; `dev` and
 * `test` are samples of those about held-out people and companies. Queries of different splits never name the same
 * person or company. The world fixes the groups; `splitSeed` decides the halves of the training group and the samples.
 * (The mentor or founder that an `sft` query leads to may be in the other half: mentorship ignores the halves.)
 * @throws InputError if more queries are wanted than exist.
 */
export function atlasSplits(
  world: AtlasWorld,
  splitSeed: number,
  options: AtlasSplitOptions = {},
): Record<AtlasSplit, AtlasQuery[]> {
  const source = 'atlasSplits options';
  validate(z.int(), splitSeed, 'atlasSplits splitSeed');
  const { testQueries, devQueries, balance } = validate(schema, options, source);
  const random = (label: string) => randomStream(world.options.seed, 'atlas-split', splitSeed, label);

  const halves = random('halves');
  const firstHalf = new Set(
    [world.people.train, world.companies.train].flatMap((names) => half(names, halves)),
  );
  const train = atlasQueries(world, 'train');

  const held = (group: 'dev' | 'test', wanted: number | undefined) => {
    const all = atlasQueries(world, group);
    if (wanted !== undefined && wanted > all.length) {
      throw new InputError({
        source,
        field: `${group}Queries`,
        expected: `at most ${all.length}, all that this world has`,
        found: String(wanted),
        remedy: `A world with more people or a larger ${group}Share has more.`,
      });
    }
    const size = wanted ?? DEFAULT_QUERIES[group];
    return balance === 'kind' ? sampleByKind(all, size, random(group)) : random(group).sample(all, size);
  };
  return {
    sft: train.filter((query) => firstHalf.has(query.subject)),
    rl: train.filter((query) => !firstHalf.has(query.subject)),
    dev: held('dev', devQueries),
    test: held('test', testQueries),
  };
}

/**
 * Picks `size` different queries, or all if there are fewer, one of each kind in turn while that kind lasts. So every
 * prefix of the result is balanced too.
 */
export function sampleByKind(
  queries: readonly AtlasQuery[],
  size: number,
  random: RandomStream,
): AtlasQuery[] {
  const decks = QUERY_KINDS.map((kind) => random.shuffle(queries.filter((query) => query.kind === kind)));
  const longest = Math.max(...decks.map((deck) => deck.length));
  const turns = Array.from({ length: longest }, (_, turn) =>
    decks.flatMap((deck) => deck.slice(turn, turn + 1)),
  );
  return turns.flat().slice(0, size);
}

/** A collection that also says what each query is about. */
export interface AtlasCollection extends Collection {
  /** By query id: kind, facts, subject, chain of reasoning and the rest. */
  atlas: Map<string, AtlasQuery>;
}

/**
 * The world's documents with the queries and judgements of one `atlasSplits`, the splits `sft`, `rl`, `dev`, `test`.
 */
export function atlasCollection(
  world: AtlasWorld,
  splitSeed: number,
  options: AtlasSplitOptions = {},
): AtlasCollection {
  const splits = atlasSplits(world, splitSeed, options);
  const all = ATLAS_SPLITS.flatMap((split) => splits[split]);
  return {
    corpus: world.documents.map((document) => ({ ...document })),
    queries: new Map(all.map(({ id, text }) => [id, { id, text }])),
    qrels: new Map(
      ATLAS_SPLITS.filter((split) => splits[split].length > 0).map((split) => [
        split,
        new Map(splits[split].map((query) => [query.id, new Map([[query.document, 1]])])),
      ]),
    ),
    atlas: new Map(all.map((query) => [query.id, query])),
  };
}

function half<T>(items: readonly T[], random: RandomStream): T[] {
  return random.sample(items, Math.ceil(items.length / 2));
}
