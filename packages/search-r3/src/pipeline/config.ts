/**
 * Settings of the commands that train, evaluate, embed, index and search. One YAML file serves them all: each reads its
 * own parts. Everything that can be known to be impossible without reading data or a model is refused here.
 */
import { relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { promptsSchema } from '../checkpoint/index.js';
import { SELF_EXCLUSIONS } from '../dataset/index.js';
import { ANALYZERS, RETRIEVER_SYSTEMS } from '../evaluate/index.js';
import { modelShapeSchema, pretrainOptionsSchema } from '../pretrain/index.js';
import { rlOptionsSchema } from '../rl/index.js';
import { sftOptionsSchema } from '../sft/index.js';
import { ATLAS } from './data.js';

const count = z.int().positive();

/** A string that the command cannot do without. */
const required = (what: string) =>
  z.string({ error: ({ input }) => (input === undefined ? `expected ${what}` : 'expected text') }).min(1);

/** The rules between the options of a stage, for its section: all of its options but the seed, and perhaps others. */
function rulesOf(schema: z.ZodObject) {
  return (value: Record<string, unknown>, context: Context): void => {
    const own = Object.fromEntries(Object.entries(value).filter(([key]) => key in schema.shape));
    for (const { path, message } of schema.safeParse(own).error?.issues ?? []) {
      context.addIssue({ code: 'custom', path, message });
    }
  };
}

type Context = z.core.$RefinementCtx;

/** Undefined where it was not asked for: a default gives way to a small collection, and what was asked for does not. */
function ifAsked<T extends z.ZodType>(field: z.ZodDefault<T>) {
  return field
    .unwrap()
    .optional()
    .meta({ default: field.parse(undefined) });
}

// There is one seed for everything.
const { seed: _pretrain, ...pretrainDefaults } = pretrainOptionsSchema.shape;
const { seed: _sft, ...sftDefaults } = sftOptionsSchema.shape;
const { seed: _rl, ...rlDefaults } = rlOptionsSchema.shape;
const pretrainShape = { ...pretrainDefaults, batchSize: ifAsked(pretrainDefaults.batchSize) };
const sftShape = { ...sftDefaults, batchSize: ifAsked(sftDefaults.batchSize) };
const rlShape = { ...rlDefaults, queriesPerStep: ifAsked(rlDefaults.queriesPerStep) };

/** Only for text from a collection: the built-in world has its own. */
const collectionText = {
  /** Ids of the tokenizer, special tokens included but for that which embeds. Default 8,192. */
  vocabSize: z.int().min(300).optional(),
  /** Share of conversations in what the base model reads. Default 0.5. */
  chatShare: z.number().min(0).max(1).optional(),
  /** Lower-case all text. Default false. */
  lowercase: z.boolean().optional(),
  /**
   * What training starts from: weights at random, or such that embeddings match words (`lexical`; see `startLexically`),
   * or words and those that go with them (`latent`; see `latentDirections`), before any training. Default `random`.
   */
  start: z.enum(['random', 'lexical', 'latent']).optional(),
};

const shape = {
  /** BEIR folder, or `atlas`. */
  data: z.string().min(1).optional(),
  /** Run folder. */
  out: z.string().min(1).optional(),
  /** Model folder that stage 1 starts from. */
  base: z.string().min(1).optional(),
  /** Model folder that stage 2 starts from, or that is used. Default of the latter: that of the run folder `out`. */
  model: z.string().min(1).optional(),
  /** Of weights, splits and both stages. */
  seed: z.int().default(0),
  /** Judgements that name missing documents or queries: left out of training, counted by evaluation as trec_eval does. */
  allowMissing: z.boolean().default(false),
  /** Whether queries that are documents are left out of their own ranking; see `ownDocuments`. */
  excludeSelf: z.enum(SELF_EXCLUSIONS).default('auto'),
  /** How texts become words, for BM25, hard negatives and the drift; see `analyzerFor`. */
  analyzer: z.enum(ANALYZERS).default('auto'),
  /** Default: those of the base model. */
  prompts: promptsSchema.optional(),
  /** Which queries the stages learn from; see `TrainingDataOptions`. */
  queries: z
    .strictObject({
      sftSplit: z.string().min(1).optional(),
      rlSplit: z.string().min(1).optional(),
      sftShare: z.number().gt(0).lt(1).default(0.5),
      titlePairs: z.boolean().default(false),
    })
    .prefault({}),
  /** Queries that no stage learns from: the split `dev`, or a share of `train` where there is none. */
  validation: z
    .strictObject({
      /** Of `train`; 0 holds none out. */
      share: z.number().min(0).max(0.5).default(0.1),
      /** Evaluated after each stage, at most. */
      queries: z.int().nonnegative().default(100),
      /** Evaluate also every so many steps of stage 2; 0 never. */
      every: z.int().nonnegative().default(0),
    })
    .prefault({}),
  /** Steps between checkpoints. */
  saveEvery: count.default(50),
  pretrain: z
    .strictObject({ ...pretrainShape, ...collectionText, model: modelShapeSchema.prefault({}) })
    .superRefine(rulesOf(pretrainOptionsSchema))
    .prefault({}),
  sft: z.strictObject(sftShape).superRefine(rulesOf(sftOptionsSchema)).prefault({}),
  rl: z.strictObject(rlShape).superRefine(rulesOf(rlOptionsSchema)).prefault({}),
  evaluate: z
    .strictObject({
      split: z.string().min(1).default('test'),
      /** Default: all; hybrids only where there are judgements to tune them on. */
      systems: z.array(z.enum(RETRIEVER_SYSTEMS)).nonempty().optional(),
      /** Judged queries, at most. Default all. */
      queries: count.optional(),
      /** Documents per ranking. */
      depth: count.default(100),
      /** Longest text in tokens of its whole prompt; longer text is cut. Default: that of `embed`. */
      maxLength: count.optional(),
      /** Length limit of the reasoning. Default: that of `embed`. */
      maxNewTokens: count.optional(),
      /** Queries the hybrids are tuned on, at most. */
      tuningQueries: count.default(200),
    })
    .prefault({}),
  /** How texts are embedded: on their own, of an index, in a search, and, where that has no other lengths, in `evaluate`. */
  embed: z
    .strictObject({
      /** Longest text in tokens of its whole prompt. Default: as the model was trained. */
      maxLength: count.optional(),
      /** Length limit of the reasoning. Default: as the model was trained. */
      maxNewTokens: count.optional(),
      /** Refuse longer texts instead of cutting them. */
      strict: z.boolean().default(false),
    })
    .prefault({}),
  index: z
    .strictObject({
      /** Default: `index` in the run folder `out`. */
      folder: z.string().min(1).optional(),
      /** A proximity graph too: faster, approximate searches of large corpora. */
      ann: z.boolean().default(false),
    })
    .prefault({}),
  search: z
    .strictObject({
      /** Let the model reason about queries before it embeds them. */
      reasoning: z.boolean().default(true),
      /** Documents per query. */
      k: count.default(10),
    })
    .prefault({}),
};

const settings = z.strictObject(shape);
export type Settings = z.output<typeof settings>;

const data = required(`a BEIR folder, or ${ATLAS} (--data)`);
const out = required('a run folder (--out)');

export const pretrainSettings = settings.extend({ data, out }).superRefine((value, context) => {
  refuseNested(value, context);
  refusePretraining(value, context);
});
export const sftSettings = settings
  .extend({ data, out, base: required('the folder of a base model (--base)') })
  .superRefine((value, context) => {
    refuseNested(value, context);
    refuseQueries(value, context);
  });
export const rlSettings = settings
  .extend({ data, out, model: required('the folder of a model of stage 1 (--model)') })
  .superRefine((value, context) => {
    refuseNested(value, context);
    refuseIdleAudits(value, context);
  });
export const trainSettings = settings.extend({ data, out }).superRefine((value, context) => {
  refuseNested(value, context);
  refuseQueries(value, context);
  if (value.base === undefined) {
    refusePretraining(value, context);
    refuseLongReasoning(value, context);
  }
  refuseShortRollouts(value, context);
  refuseIdleAudits(value, context);
});
export const evaluateSettings = settings.extend({ data });
export const embedSettings = settings;
export const indexSettings = settings.extend({ data });
export const searchSettings = settings;

export type PretrainSettings = z.output<typeof pretrainSettings>;
export type SftSettings = z.output<typeof sftSettings>;
export type RlSettings = z.output<typeof rlSettings>;
export type TrainSettings = z.output<typeof trainSettings>;
export type EvaluateSettings = z.output<typeof evaluateSettings>;

/** Overwriting the run would remove the model it starts from, and the collection. */
function refuseNested(value: Settings, context: Context): void {
  for (const key of ['base', 'model', 'data'] as const) {
    const [folder, run] = [value[key], value.out];
    if (folder === undefined || run === undefined || (key === 'data' && folder === ATLAS)) continue;
    const inside = relative(resolve(run), resolve(folder));
    if (inside === '..' || inside.startsWith(`..${sep}`)) continue;
    context.addIssue({
      code: 'custom',
      path: [key],
      message: `expected a folder outside of the run folder ${run}`,
    });
  }
}

function refuseQueries({ sft }: Settings, context: Context): void {
  if (sft.maxQueries === undefined || sft.batchSize === undefined || sft.maxQueries >= sft.batchSize) return;
  const message = `expected at most the ${sft.maxQueries} queries of sft.maxQueries`;
  context.addIssue({ code: 'custom', path: ['sft', 'batchSize'], message });
}

/** What stage 1 taught to say must fit a rollout of stage 2, or none reaches the embed token. */
function refuseShortRollouts({ sft: { reasoning }, rl }: Settings, context: Context): void {
  if (!reasoning.enabled || rl.maxNewTokens >= reasoning.maxNewTokens) return;
  const message = `expected at least the ${reasoning.maxNewTokens} of sft.reasoning.maxNewTokens`;
  context.addIssue({ code: 'custom', path: ['rl', 'maxNewTokens'], message });
}

/** The exact environment has no error to measure. */
function refuseIdleAudits({ rl }: Settings, context: Context): void {
  if (rl.auditEvery === 0 || rl.environment.kind !== 'exact') return;
  const message = 'expected 0 where rl.environment.kind is exact: it makes no error';
  context.addIssue({ code: 'custom', path: ['rl', 'auditEvery'], message });
}

function refusePretraining({ data, pretrain }: Settings, context: Context): void {
  const { maxPositions } = pretrain.model;
  for (const path of [['maxLength'], ['contrastive', 'maxLength']] as const) {
    const { contrastive } = pretrain;
    const pairs = contrastive.batchSize > 0 ? contrastive.maxLength : 0;
    if ((path.length === 1 ? pretrain.maxLength : pairs) <= maxPositions) continue;
    const message = `expected at most the ${maxPositions} positions of pretrain.model.maxPositions`;
    context.addIssue({ code: 'custom', path: ['pretrain', ...path], message });
  }
  for (const key of ['vocabSize', 'chatShare', 'lowercase', 'start'] as const) {
    if (data !== ATLAS || pretrain[key] === undefined) continue;
    const message = `expected no such setting with the data ${ATLAS}, which has its own words and conversations`;
    context.addIssue({ code: 'custom', path: ['pretrain', key], message });
  }
  if (data === ATLAS && pretrain.contrastive.batchSize > 0) {
    const message = `expected 0 with the data ${ATLAS}, whose documents the base model does not read`;
    context.addIssue({ code: 'custom', path: ['pretrain', 'contrastive', 'batchSize'], message });
  }
}

/** Reasoning must leave room for its prompt. */
function refuseLongReasoning({ pretrain, sft, rl }: Settings, context: Context): void {
  const { maxPositions } = pretrain.model;
  const message = `expected fewer than the ${maxPositions} positions of pretrain.model.maxPositions`;
  if (sft.reasoning.enabled && sft.reasoning.maxNewTokens >= maxPositions) {
    context.addIssue({ code: 'custom', path: ['sft', 'reasoning', 'maxNewTokens'], message });
  }
  if (rl.maxNewTokens >= maxPositions) {
    context.addIssue({ code: 'custom', path: ['rl', 'maxNewTokens'], message });
  }
}
