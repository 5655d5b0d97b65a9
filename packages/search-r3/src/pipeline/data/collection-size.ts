/**
 * Sizes of steps against a collection. A default larger than what there is to draw from gives way, with a note; sizes
 * that were asked for and can not be had are refused, all of them at once.
 */
import { pretrainOptionsSchema } from '../../pretrain/index.js';
import { rlOptionsSchema } from '../../rl/index.js';
import { InputError } from '../../run/index.js';
import { sftOptionsSchema } from '../../sft/index.js';
import type { Settings } from '../settings.js';
import { ATLAS } from '../settings.js';

/** What the stages at hand draw from; undefined for those that do not run. */
export interface Available {
  /** Documents to pre-train on. */
  documents?: number;
  /** Training queries of stage 1, and of stage 2. */
  sft?: number;
  rl?: number;
}

/** Settings whose sizes are numbers: as asked for, or a default that fits. */
export type Sized<S> = S & {
  pretrain: { batchSize: number };
  sft: { batchSize: number };
  rl: { queriesPerStep: number };
};

interface Size {
  field: string;
  asked: number | undefined;
  usual: number;
  least: number;
  /** Undefined where nothing bounds it. */
  available: number | undefined;
  /** What is drawn. */
  what: string;
}

const USUAL = {
  pretrain: pretrainOptionsSchema.shape.batchSize.parse(undefined),
  sft: sftOptionsSchema.shape.batchSize.parse(undefined),
  rl: rlOptionsSchema.shape.queriesPerStep.parse(undefined),
};

/** @throws InputError naming every size that was asked for and is too large, and every stage without enough queries. */
export function sizedToCollection<S extends Settings & { data: string }>(
  settings: S,
  available: Available,
  { source = 'settings', onNote = () => {} }: { source?: string; onNote?: (text: string) => void } = {},
): Sized<S> {
  const { data, pretrain, sft, rl } = settings;
  // The built-in world is a stream without end.
  const documents = data === ATLAS ? undefined : available.documents;
  const stage1 = available.sft && Math.min(sft.maxQueries ?? available.sft, available.sft);
  const read = { least: 1, available: documents, what: `documents of ${data}` };
  const sizes = {
    pretrain: { ...read, field: 'pretrain.batchSize', asked: pretrain.batchSize, usual: USUAL.pretrain },
    pairs: {
      ...read,
      field: 'pretrain.contrastive.batchSize',
      asked: pretrain.contrastive.batchSize,
      usual: 0,
    },
    sft: {
      field: 'sft.batchSize',
      asked: sft.batchSize,
      usual: USUAL.sft,
      least: 2,
      available: stage1,
      what: `queries of stage 1 in ${data}`,
    },
    rl: {
      field: 'rl.queriesPerStep',
      asked: rl.queriesPerStep,
      usual: USUAL.rl,
      least: 1,
      available: available.rl,
      what: `queries of stage 2 in ${data}`,
    },
  } satisfies Record<string, Size>;
  refuse(source, Object.values<Size>(sizes));
  const fitting = ({ field, asked, usual, available: most, what }: Size): number => {
    if (asked !== undefined) return asked;
    if (most === undefined || usual <= most) return usual;
    onNote(`${field} is ${most} instead of its default ${usual}: there are no more ${what}.`);
    return most;
  };
  return {
    ...settings,
    pretrain: { ...pretrain, batchSize: fitting(sizes.pretrain) },
    sft: { ...sft, batchSize: fitting(sizes.sft) },
    rl: { ...rl, queriesPerStep: fitting(sizes.rl) },
  };
}

function refuse(source: string, sizes: readonly Size[]): void {
  const problems = sizes.flatMap(({ field, asked = 0, least, available = Infinity, what }) => {
    if (available < least)
      return [{ field, expected: `at least ${least} ${what}`, found: String(available) }];
    return asked > available
      ? [{ field, expected: `at most the ${available} ${what}`, found: String(asked) }]
      : [];
  });
  if (problems.length === 0) return;
  const all = (key: 'field' | 'expected' | 'found') => problems.map((problem) => problem[key]);
  throw new InputError({
    source,
    field: all('field').join(', '),
    expected: all('expected').join(' and '),
    found: all('found').join(' and '),
  });
}
