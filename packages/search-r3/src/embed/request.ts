/** One text to be embedded: what a request may say, what comes back, and which requests are refused. */
import { z } from 'zod';
import type { Model } from '../model/index.js';
import { EMBED_FUSIONS } from './names.js';
import type { EmbedPrompts } from './prompts.js';

/** What is embedded: a text, or the ids of a prompt of the caller's own. */
export type EmbedInput =
  | { text: string; tokens?: undefined }
  | {
      text?: undefined;
      /**
       * The whole prompt, to which only the reasoning and the embed token are added. It is never cut; role and direct
       * embedding beside reasoning need a text.
       */
      tokens: readonly number[];
    };

/** `mean` of the samples, or `direct+mean`: the direct embedding and that mean, weighted by `directWeight`. */
export type EmbedFusion = (typeof EMBED_FUSIONS)[number];

export interface EmbedSettings {
  /** Whether the text is a query or a document, which is never reasoned about. Default `query`. */
  role?: 'query' | 'document';
  /**
   * `on`: the model reasons before it embeds, which takes a prompt for it. Any text but the three words: your own
   * reasoning, put where the model's would stand. `auto`, the model's choice, is not there yet and refused. Default `off`.
   */
  reasoning?: 'off' | 'on' | 'auto' | (string & Record<never, never>);
  /** Reasonings whose vectors become one. More than one needs reasoning `on` and a temperature above 0. Default 1. */
  samples?: number;
  /** How the vectors, cut and of unit length, become one, of unit length again. Default `mean`. */
  fusion?: EmbedFusion;
  /** Share of the direct embedding in `direct+mean`, from 0 to 1. `evaluate` tunes one. Default 0.5. */
  directWeight?: number;
  /**
   * Length of the vector: its first numbers, scaled to length 1. Default and most: that of the model's vectors. If the
   * model was trained for some shorter lengths, one of them.
   */
  dimensions?: number;
  /** Sampling temperature of the reasoning. 0 always picks the most probable token. Default 0. */
  temperature?: number;
  /** With one seed a text gets the same reasoning, whatever else is embedded at the time. Default 0. */
  seed?: number;
  /** Maximum length of the reasoning in tokens. Default: the value used in training, or 44 if that is unknown. */
  maxNewTokens?: number;
  /** Minimum length of the reasoning in tokens. Default 0. */
  minNewTokens?: number;
  /**
   * Maximum length of the prompt in tokens, without reasoning; the model may limit it further. Default: the value that
   * the model was trained with, or 512 if that is unknown.
   */
  maxLength?: number;
  /** Reject a text that does not fit, instead of cutting it. Default false. */
  strict?: boolean;
  /** Ends this request and no other. */
  signal?: AbortSignal;
  /**
   * Called with each piece of reasoning as it is generated. Joined, the pieces of a sample equal its text. An error
   * thrown here fails the request.
   */
  onToken?: (event: { sample: number; piece: string }) => void;
}

export type EmbedRequest = EmbedInput & EmbedSettings;

/** Reasoning that the model wrote. */
export interface WrittenReasoning {
  text: string;
  /** Without the token that ended it. */
  tokens: number[];
  /** Whether the model itself ended it with the embed token, which is appended otherwise. */
  completed: boolean;
}

export interface EmbedResult {
  /** Has unit length. */
  vector: Float32Array;
  /** Whether the text was cut to fit. */
  truncated: boolean;
  usage: {
    /** Tokens of the prompts; samples share one. */
    promptTokens: number;
    /** Tokens written after it by the model, in all samples, what ended them included; or those of your own reasoning. */
    reasoningTokens: number;
  };
  /** By sample. Only with reasoning `on`. */
  reasoning?: WrittenReasoning[];
}

/** A query and the first part of the reasoning about it. */
export type ProbeRequest = EmbedInput &
  Pick<EmbedSettings, 'dimensions' | 'maxNewTokens' | 'maxLength' | 'strict' | 'signal'> & {
    /** What is written so far, as text or, exactly, as tokens of `WrittenReasoning`; `maxNewTokens` at most. */
    written: string | readonly number[];
  };

/** The model, as far as it limits requests. */
interface Limits extends Pick<EmbedPrompts, 'limits'> {
  vocabSize: number;
  dimension: number;
  /** Shorter lengths that its vectors may have; empty: all. */
  matryoshka: readonly number[];
  embedId: number | undefined;
}

/** The shorter lengths that a model was trained for. Of vectors that are cut anyway, only those below are left. */
export const shorterLengths = ({ matryoshka = [] }: Pick<Model, 'matryoshka'>, dimension: number): number[] =>
  matryoshka.filter((length) => length < dimension);

/** Lengths that vectors may have. */
export const dimensionsSchema = ({ dimension, matryoshka }: Pick<Limits, 'dimension' | 'matryoshka'>) =>
  z
    .int()
    .min(1)
    .max(dimension)
    .refine((length) => matryoshka.length === 0 || length === dimension || matryoshka.includes(length), {
      message: `expected a length that the model was trained for: ${[dimension, ...matryoshka].join(', ')}`,
    })
    .default(dimension);

/** How the vectors of samples become one. */
export const fusionFields = {
  samples: z.int().min(1).default(1),
  fusion: z.enum(EMBED_FUSIONS).default('mean'),
  directWeight: z.number().min(0).max(1).default(0.5),
};

const shared = ({ vocabSize, dimension, matryoshka, limits }: Limits) => ({
  text: z.string().optional(),
  tokens: tokenIds(vocabSize).min(1).optional(),
  dimensions: dimensionsSchema({ dimension, matryoshka }),
  maxNewTokens: z.int().min(1).default(limits.maxNewTokens),
  maxLength: z.int().min(1).optional(),
  strict: z.boolean().default(false),
});

const tokenIds = (vocabSize: number) => z.array(z.int().min(0).lt(vocabSize));

/** The rules for what both kinds of requests have. */
const checked = <T extends z.ZodType<{ text?: string | undefined; tokens?: number[] | undefined }>>(
  schema: T,
  embedId: number | undefined,
): T =>
  schema
    .refine(({ text, tokens }) => (text === undefined) !== (tokens === undefined), {
      message: 'expected text or tokens, one of the two',
    })
    .refine(({ tokens }) => tokens === undefined || tokens.at(-1) !== embedId, {
      path: ['tokens'],
      message: 'expected a prompt without the embed token at its end',
    });

/** A request but its signal and callback. */
export const requestSchema = (limits: Limits) =>
  checked(
    z.strictObject({
      ...shared(limits),
      role: z.enum(['query', 'document']).optional(),
      reasoning: z
        .string()
        .default('off')
        .refine((reasoning) => reasoning !== 'auto', {
          message: 'expected "off", "on" or your own reasoning, as the model cannot choose yet',
        }),
      ...fusionFields,
      temperature: z.number().min(0).default(0),
      seed: z.int().default(0),
      minNewTokens: z.int().min(0).default(0),
    }),
    limits.embedId,
  )
    .refine(({ role, reasoning }) => role !== 'document' || reasoning === 'off', {
      path: ['reasoning'],
      message: 'expected "off" for documents: only queries are reasoned about',
    })
    .refine(({ samples, reasoning }) => samples === 1 || reasoning === 'on', {
      path: ['samples'],
      message: 'expected 1 unless reasoning is "on"',
    })
    .refine(({ samples, temperature }) => samples === 1 || temperature > 0, {
      path: ['temperature'],
      message: 'expected more than 0, as samples would be equal otherwise',
    })
    .refine(({ fusion, reasoning }) => fusion === 'mean' || reasoning !== 'off', {
      path: ['fusion'],
      message: 'expected "mean" unless there is reasoning',
    })
    .refine(({ fusion, tokens }) => fusion === 'mean' || tokens === undefined, {
      path: ['fusion'],
      message: 'expected "mean" for tokens: only a text has a direct embedding beside its reasoning',
    })
    .refine(({ role, tokens }) => role === undefined || tokens === undefined, {
      path: ['role'],
      message: 'expected none for tokens, which are the whole prompt',
    })
    .refine(({ minNewTokens, maxNewTokens }) => minNewTokens <= maxNewTokens, {
      path: ['minNewTokens'],
      message: 'expected at most maxNewTokens',
    });

/** A probe but its signal. */
export const probeSchema = (limits: Limits) =>
  checked(
    z.strictObject({ ...shared(limits), written: z.union([z.string(), tokenIds(limits.vocabSize)]) }),
    limits.embedId,
  );

export type ResolvedRequest = z.output<ReturnType<typeof requestSchema>>;
