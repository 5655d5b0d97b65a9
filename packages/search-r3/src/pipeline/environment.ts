/** The environment of stage 2: it embeds the corpus with the model that is being trained. */
import { directPrompts, type PromptIds } from '../checkpoint/index.js';
import type { Collection } from '../dataset/index.js';
import {
  type EncodeDocuments,
  type Environment,
  ExactEnvironment,
  SelectiveEnvironment,
  type SelectiveSources,
} from '../environment/index.js';
import type { AnalyzerChoice } from '../evaluate/index.js';
import type { Model, Policy } from '../model/index.js';
import type { ResolvedRlOptions } from '../rl/index.js';

export interface RunEnvironment {
  environment: Environment;
  /** How many of the documents encoded so far were cut to `options.maxLength`. */
  truncatedDocuments(): number;
}

export interface EnvironmentSettings
  extends Pick<ResolvedRlOptions, 'environment' | 'maxLength' | 'optimization' | 'reward' | 'seed'> {
  /** How texts become words, for the drift. Default `auto`. */
  analyzer?: AnalyzerChoice;
}

/**
 * The environment that `options.environment` asks for. Prompts of the documents are tokenized once for each text, cut to
 * `options.maxLength`, and encoded with the weights that the model has at that moment.
 *
 * @param model stays with the caller, who disposes of it after the environment.
 * @param text what a document says now, by its id; asked for again where `Environment.change` adds or changes some.
 */
export async function createEnvironment(
  model: Model<Policy>,
  { corpus }: Collection,
  text: (id: string) => string,
  options: EnvironmentSettings,
): Promise<RunEnvironment> {
  const { tokenizer, prompts, config } = model;
  const limit = { maxTokens: options.maxLength };
  const ids = corpus.map(({ id }) => id);
  const tokenized = new Map<string, { text: string } & PromptIds>();
  const prompted = async (asked: readonly string[]): Promise<(readonly number[])[]> => {
    const missing = asked.filter((id) => tokenized.get(id)?.text !== text(id));
    const texts = missing.map(text);
    const made = await directPrompts(tokenizer, prompts, texts, 'document', limit);
    for (const [i, id] of missing.entries()) {
      tokenized.set(id, { text: texts[i] as string, ...(made[i] as PromptIds) });
    }
    return asked.map(tokensOf);
  };
  /** Lengths are only asked for of what was encoded. */
  const tokensOf = (id: string): readonly number[] => {
    const known = tokenized.get(id);
    if (known === undefined) throw new Error(`internal: document ${id} has no prompt`);
    return known.ids;
  };
  const encoder = await model.encoder();
  const encode: EncodeDocuments = async (asked) => {
    const sequences = await prompted(asked);
    // Where more are kept than there are documents some were removed.
    if (tokenized.size > environment.documents.length) {
      for (const id of tokenized.keys()) if (!environment.has(id)) tokenized.delete(id);
    }
    return encoder.encode(sequences, { maxTokens: options.optimization.maxTokens });
  };
  const sources = {
    dimension: config.hiddenSize,
    encode,
    tokens: (id: string) => tokensOf(id).length,
    text,
    analyzer: options.analyzer ?? 'auto',
  };
  const environment = await chosen(ids, sources, options);
  return {
    environment,
    truncatedDocuments: () => [...tokenized.values()].filter(({ truncated }) => truncated).length,
  };
}

async function chosen(
  ids: readonly string[],
  sources: Required<SelectiveSources>,
  { environment, reward, seed }: Pick<ResolvedRlOptions, 'environment' | 'reward' | 'seed'>,
): Promise<Environment> {
  const cut = reward.cut !== undefined ? { cut: reward.cut } : {};
  switch (environment.kind) {
    case 'exact': {
      const { encode, dimension, tokens } = sources;
      return ExactEnvironment.create(ids, encode, { dimension, tokens, ...cut });
    }
    case 'selective': {
      const { kind: _, ...own } = environment;
      return SelectiveEnvironment.create(ids, sources, { ...own, ...cut, seed });
    }
    default:
      throw environment satisfies never;
  }
}
