/**
 * The settings of all commands, as one schema with the text of each for the guide and for help (`.meta`). It loads only
 * schemas, so that `--help` stays quick.
 */
import { z } from 'zod';
import { promptsSchema } from '../checkpoint/prompts.js';
import { SELF_EXCLUSIONS } from '../dataset/own-documents.js';
import { PRECISIONS } from '../decoder/precision-names.js';
import { EMBED_FUSIONS } from '../embed/names.js';
import { ANALYZERS, RETRIEVER_SYSTEMS } from '../evaluate/names.js';
import { modelShapeSchema, pretrainOptionsSchema } from '../pretrain/options.js';
import { rlOptionsSchema } from '../rl/options.js';
import { sftOptionsSchema } from '../sft/options.js';
import { loraSchema, seedOption } from '../train/options.js';

/** The name of the built-in world where a BEIR folder is expected. */
export const ATLAS = 'atlas';

const count = z.int().positive();
const text = z.string().min(1);

/** The rules between the options of a stage, for its section: all of its options but the seed, and perhaps others. */
function rulesOf(schema: z.ZodObject) {
  return (value: Record<string, unknown>, context: z.core.$RefinementCtx): void => {
    const own = Object.fromEntries(Object.entries(value).filter(([key]) => key in schema.shape));
    for (const { path, message } of schema.safeParse(own).error?.issues ?? []) {
      context.addIssue({ code: 'custom', path, message });
    }
  };
}

/** Undefined where it was not asked for: a default gives way to a small collection, and what was asked for does not. */
function ifAsked<T extends z.ZodType>(field: z.ZodDefault<T>) {
  return field
    .unwrap()
    .optional()
    .meta({ ...field.meta(), default: field.parse(undefined) });
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
  vocabSize: z.int().min(300).optional().meta({
    description: 'Number of token ids, including special tokens.',
    when: 'Lower for small collections: the model never learns rare ids.',
    ifUnset: '`8192`',
  }),
  chatShare: z.number().min(0).max(1).optional().meta({
    description: 'Share of conversations in the pre-training text.',
    when: 'Raise if completions in stage 2 ignore the query.',
    ifUnset: '`0.5`',
  }),
  lowercase: z.boolean().optional().meta({
    description: 'Convert all text to lower case.',
    when: 'Switch on for small collections, where capitals only split words.',
    ifUnset: '`false`',
  }),
  /** See `startLexically` and `latentDirections`. */
  start: z.enum(['random', 'lexical', 'latent']).optional().meta({
    description:
      'Initial weights: `random`, `lexical` (embeddings match words before any training), or `latent` (they match words and related words).',
    when: '`latent` for small collections.',
    ifUnset: '`random`',
  }),
};

/** Which queries the stages learn from. */
const queriesSchema = z.strictObject({
  sftSplit: text.optional().meta({
    description: 'Split for stage 1.',
    when: 'Set it if you made your own splits.',
    ifUnset: '`sft` if it exists, otherwise a share of `train`',
  }),
  rlSplit: text.optional().meta({
    description: 'Split for stage 2.',
    when: 'Set it if you made your own splits; no query may be in both.',
    ifUnset: '`rl` if it exists, otherwise the rest of `train`',
  }),
  sftShare: z.number().gt(0).lt(1).default(0.5).meta({
    description: 'Share of `train` for stage 1 if both stages use that split.',
    when: 'Lower if the rewards of stage 2 start high: it needs queries that are still hard.',
  }),
  titlePairs: z.boolean().default(false).meta({
    description: 'In stage 1, also learn from document titles as queries for their texts.',
    when: 'Switch on if documents have titles and you have fewer than a few thousand training queries.',
  }),
});

/** Which queries the stages learn from, as a user writes it; docs/guides/options.md describes each option. */
export type QuerySettings = z.input<typeof queriesSchema>;

export const settingsSchema = z.strictObject({
  data: text.optional().meta({
    description: 'BEIR folder, or `atlas` for the built-in world.',
    when: 'Required.',
  }),
  out: text.optional().meta({
    description: 'Run folder.',
    when: 'Required.',
  }),
  base: text.optional().meta({
    description: 'Base model that stage 1 starts from: a Hugging Face folder or a GGUF file.',
    when: 'Set it if you can: a pre-trained base reasons better than any model from scratch.',
    ifUnset: 'a model trained from scratch',
  }),
  model: text.optional().meta({
    description:
      'Model folder that stage 2 starts from. Without a run folder (`out`), evaluation, embedding, indexing and searching use this model.',
    when: 'Set it to run the stages one by one, or to use a model without its run.',
  }),
  seed: seedOption,
  allowMissing: z.boolean().default(false).meta({
    description:
      'Accept judgements of missing documents or queries: training leaves them out, evaluation scores them as trec_eval does.',
    when: 'Switch on for a subset of a public collection.',
  }),
  excludeSelf: z.enum(SELF_EXCLUSIONS).default('auto').meta({
    description:
      'Leave a query that is a document out of its own ranking, in training and evaluation. `auto`: if both have the same id and text, or the same id and no judgement pairs a query with its own id. `always`: if ids are the same, as BEIR does.',
    when: '`never` if ids coincide by accident; `always` to compare with figures of BEIR.',
  }),
  analyzer: z.enum(ANALYZERS).default('auto').meta({
    description:
      'How texts become words for BM25, hard negatives and the drift: as text, or as code with identifiers split. `auto` decides by what most documents are.',
    when: 'Set it if the report of `evaluate` names the wrong one.',
  }),
  /** Default: those of the base model. */
  prompts: promptsSchema.optional(),
  queries: queriesSchema.prefault({}),
  /** Queries that no stage learns from: the split `dev`, or a share of `train` where there is none. */
  validation: z
    .strictObject({
      share: z.number().min(0).max(0.5).default(0.1).meta({
        description: 'Share of `train` to hold out if there is no split `dev`; 0 for none.',
        when: 'Lower if every training query counts.',
      }),
      queries: z.int().nonnegative().default(100).meta({
        description: 'Largest number of validation queries, evaluated after each stage.',
        when: '0 if encoding the corpus is slow.',
      }),
      every: z.int().nonnegative().default(0).meta({
        description: 'Steps of stage 2 between validations; 0 for none.',
        when: 'Set it to see when to stop. Each validation encodes the corpus.',
      }),
    })
    .prefault({}),
  saveEvery: count.default(50).meta({
    description: 'Steps between checkpoints.',
    when: 'Lower if a killed run would lose too much.',
  }),
  /** Default: all weights are trained. A model of stage 1 that is an adapter is trained further as one. */
  lora: loraSchema.optional(),
  pretrain: z
    .strictObject({ ...pretrainShape, ...collectionText, model: modelShapeSchema.prefault({}) })
    .superRefine(rulesOf(pretrainOptionsSchema))
    .prefault({}),
  sft: z.strictObject(sftShape).superRefine(rulesOf(sftOptionsSchema)).prefault({}),
  rl: z.strictObject(rlShape).superRefine(rulesOf(rlOptionsSchema)).prefault({}),
  evaluate: z
    .strictObject({
      split: text.default('test').meta({
        description: 'Split to evaluate on.',
        when: 'Set it to the name in your collection.',
      }),
      systems: z.array(z.enum(RETRIEVER_SYSTEMS)).nonempty().optional().meta({
        description: 'Systems to compare.',
        when: '`[bm25, direct]` is quick, because it generates nothing.',
        ifUnset: 'all, hybrids only if they can be tuned, reasoned only if the model has a prompt for that',
      }),
      queries: count.optional().meta({
        description: 'Evaluate only this many judged queries, the first ones.',
        when: 'Set it for a quick look.',
        ifUnset: 'all',
      }),
      depth: count.default(100).meta({
        description: 'Documents per ranking.',
        when: 'Raise if others score your run files to a greater depth.',
      }),
      maxLength: count.optional().meta({
        description: 'Longest text in tokens; longer text is cut.',
        when: 'Raise to see whether longer texts help.',
        ifUnset: '`embed.maxLength`',
      }),
      maxNewTokens: count.optional().meta({
        description: 'Length limit of the reasoning.',
        when: 'Raise to see whether longer reasoning helps.',
        ifUnset: '`embed.maxNewTokens`',
      }),
      controls: z.boolean().default(false).meta({
        description:
          'Also measure what other texts do in place of the reasoning: its words shuffled, the reasoning about another query, filler, the query repeated, and the reasoning cut short.',
        when: 'Switch on to see whether a gain is one of reasoning.',
      }),
      samples: count.default(1).meta({
        description: 'Reasonings per query, of whose vectors the mean is taken.',
        when: 'Set it to 4 or 8, with a `temperature`, if one reasoning is often wrong.',
      }),
      temperature: z.number().nonnegative().default(0).meta({
        description: 'Sampling temperature of the reasoning. 0 always picks the most probable token.',
        when: 'Set it to 1 for several `samples`.',
      }),
      tuningQueries: count.default(200).meta({
        description: 'Largest number of queries to tune the hybrids on. With fewer than 30, a note appears.',
        when: 'Rarely.',
      }),
    })
    .refine(({ samples, temperature }) => samples === 1 || temperature > 0, {
      path: ['temperature'],
      message: 'expected a temperature above 0 with several samples, which are the same without one',
    })
    .prefault({}),
  /** How texts are embedded: on their own, of an index, in a search, and, where that has no other lengths, in `evaluate`. */
  embed: z
    .strictObject({
      prompts: text.optional().meta({
        description:
          'How the model embeds: search-r3, qwen3-embedding, topics, or a JSON or YAML file with prompts.',
        when: 'Set it for a base model, to try other prompts.',
        ifUnset: 'as the model says, or topics',
      }),
      precision: z
        .enum(['auto', ...PRECISIONS])
        .default('auto')
        .meta({
          description:
            'How the model computes: f32; int8, faster and smaller; int8-block or int4, smaller still, but slower on many texts; auto: int8 for 50 million parameters or more if the vectors stay close, else f32.',
          when: 'Set `f32` to compare figures with those of other programs to the last digit.',
        }),
      maxLength: count.optional().meta({
        description:
          'Longest prompt in tokens, without reasoning, at most what the model can take; longer text is cut.',
        when: 'Raise if texts that should stay whole are cut.',
        ifUnset: 'as in training, or 512 if the model does not say',
      }),
      maxNewTokens: count.optional().meta({
        description: 'Length limit of the reasoning.',
        when: 'Lower if you need fast answers.',
        ifUnset: 'as in training, or 44 if the model does not say',
      }),
      samples: count.default(1).meta({
        description: 'Reasonings per query, whose mean is embedded. More than one takes a temperature.',
        when: 'Raise if `evaluate.samples` shows that it helps.',
      }),
      temperature: z.number().min(0).default(0).meta({
        description: 'Sampling temperature of the reasoning; 0 takes the most probable token.',
        when: 'Set it with `embed.samples`.',
      }),
      fusion: z.enum(EMBED_FUSIONS).default('mean').meta({
        description:
          'What is embedded after reasoning: the mean of the samples, or the direct vector and that mean, weighted by `embed.directWeight`.',
        when: '`direct+mean` if the system `fused` of `evaluate` is the best.',
      }),
      directWeight: z.number().min(0).max(1).default(0.5).meta({
        description: 'Share of the direct vector in `direct+mean`.',
        when: 'Set it to the weight that `evaluate` tuned for `fused`.',
      }),
      dimensions: count.optional().meta({
        description:
          'Length of vectors that are embedded or indexed: their first numbers. A search takes the length of its index.',
        when: 'Lower to save room, with a model trained for shorter vectors.',
        ifUnset: "that of the model's vectors",
      }),
      strict: z.boolean().default(false).meta({
        description: 'Reject texts that do not fit instead of cutting them.',
        when: 'Switch on if part of a text is worse than none.',
      }),
    })
    .prefault({}),
  index: z
    .strictObject({
      folder: text.optional().meta({
        description: 'Folder of the index; only the model that made it can search it.',
        when: 'Set it for several indexes.',
        ifUnset: '`index` in the run folder',
      }),
      ann: z.boolean().default(false).meta({
        description: 'Also build a proximity graph, for faster, approximate searches.',
        when: 'Switch on from about a hundred thousand documents.',
      }),
    })
    .prefault({}),
  search: z
    .strictObject({
      reasoning: z.boolean().optional().meta({
        description: 'Let the model reason about queries before it embeds them.',
        when: '`false` to compare, or to save time.',
        ifUnset: 'if the model has a prompt for that',
      }),
      k: count.default(10).meta({
        description: 'Documents per query.',
        when: 'Set it to the number you show.',
      }),
    })
    .prefault({}),
});

export type Settings = z.output<typeof settingsSchema>;
