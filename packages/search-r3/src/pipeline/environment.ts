/** The environment of a run of stage 2: the corpus as its policy, which training changes in place, embeds it. */
import { directPrompt, type PromptIds } from '../checkpoint/index.js';
import type { Collection } from '../dataset/index.js';
import { SequenceEncoder } from '../embed/index.js';
import {
  type EncodeDocuments,
  type Environment,
  ExactEnvironment,
  SelectiveEnvironment,
  type SelectiveSources,
} from '../environment/index.js';
import { type Policy, parameterFeeds } from '../model/index.js';
import type { ResolvedRlOptions } from '../rl/index.js';

/** An environment and what it encodes with. */
export interface RunEnvironment {
  environment: Environment;
  /** How many of the documents encoded so far were cut to `options.maxLength`. */
  truncatedDocuments(): number;
  dispose(): Promise<void>;
}

/**
 * The environment that `options.environment` asks for. Prompts of the documents are tokenized once for each text, cut to
 * `options.maxLength`; weights are read from `policy` whenever documents are encoded.
 *
 * @param text what a document says now, by its id; asked for again where `Environment.change` adds or changes some.
 */
export async function createEnvironment(
  policy: Policy,
  { corpus }: Collection,
  text: (id: string) => string,
  options: Pick<ResolvedRlOptions, 'environment' | 'maxLength' | 'optimization' | 'reward' | 'seed'>,
): Promise<RunEnvironment> {
  const { tokenizer, prompts, config } = policy;
  const limit = { maxTokens: options.maxLength };
  const ids = corpus.map(({ id }) => id);
  const tokenized = new Map<string, { text: string } & PromptIds>();
  const prompt = (id: string): readonly number[] => {
    const now = text(id);
    const known = tokenized.get(id);
    if (known?.text === now) return known.ids;
    const made = directPrompt(tokenizer, prompts, now, 'document', limit);
    tokenized.set(id, { text: now, ...made });
    return made.ids;
  };
  const encoder = await SequenceEncoder.create(config, parameterFeeds(policy));
  const encode: EncodeDocuments = (asked) => {
    const prompted = asked.map(prompt);
    // Where more are kept than there are documents some were removed.
    if (tokenized.size > environment.documents.length) {
      for (const id of tokenized.keys()) if (!environment.has(id)) tokenized.delete(id);
    }
    return encoder.encode(prompted, { maxTokens: options.optimization.maxTokens });
  };
  const sources = { dimension: config.hiddenSize, encode, tokens: (id: string) => prompt(id).length, text };
  const environment = await chosen(ids, sources, options);
  return {
    environment,
    truncatedDocuments: () => [...tokenized.values()].filter(({ truncated }) => truncated).length,
    dispose: async () => {
      await environment.dispose();
      await encoder.dispose();
    },
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
