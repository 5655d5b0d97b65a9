/** Pre-training: a tokenizer and a small model from scratch on the text of a collection. */
import { join } from 'node:path';
import {
  type Checkpoint,
  initialiseWeights,
  type PromptOverrides,
  resolvePrompts,
  type TrainingPrompts,
} from '../../checkpoint/index.js';
import { type Document, generateAtlas } from '../../dataset/index.js';
import { Model, makePolicy } from '../../model/index.js';
import {
  ATLAS_PROMPTS,
  atlasSequences,
  atlasTokenizer,
  COLLECTION_PROMPTS,
  collectionPairs,
  collectionSequences,
  collectionTokenizer,
  collectionWords,
  latentDirections,
  type PairSource,
  PretrainTrainer,
  type SequenceSource,
  scratchConfig,
  startLexically,
} from '../../pretrain/index.js';
import type { LongWorkOptions } from '../../run/index.js';
import { Tokenizer } from '../../tokenizer/index.js';
import { trainLoop } from '../../train/index.js';
import { partProgress } from '../part-progress.js';
import { ATLAS } from '../settings.js';
import { FREE_SETTINGS, TRAINING_OUTPUTS, type TrainingStage, type TrainingStageSettings } from './stage.js';

export interface TrainingText {
  corpus: readonly Document[];
  /** SHA-256, in hex, of what training reads. */
  fingerprint: string;
}

export interface PretrainInput {
  text: TrainingText;
}

const DEFAULT_VOCABULARY = 8192;
const DEFAULT_CHAT_SHARE = 0.5;

export const pretrainStage: TrainingStage<PretrainInput> = {
  name: 'pretrain',
  inputs: ['text'],
  outputs: TRAINING_OUTPUTS,

  async fingerprint(settings, { text }) {
    const { data, seed, pretrain, saveEvery } = settings;
    const fingerprints = { data: text.fingerprint };
    return {
      config: { data, seed, prompts: scratchPrompts(settings), pretrain, saveEvery, fingerprints },
      mayChange: [...FREE_SETTINGS, 'pretrain.steps'],
    };
  },

  async run(settings, { text }, { onNote, ...loop }) {
    const { data, seed, pretrain } = settings;
    const prompts = scratchPrompts(settings);
    const resumed = loop.run?.resumed;
    if (resumed === undefined && data !== ATLAS) onNote('Learning a vocabulary from the corpus.');
    const known = resumed && (await Tokenizer.load(join(resumed.path, 'model'), { asWritten: true }));
    const { progress, signal } = loop;
    const work = { signal, ...(progress && { onProgress: partProgress(progress, 'pretrain') }) };
    const { tokenizer, source, pairs } = await textSource(settings, text.corpus, prompts, known, work);
    const config = scratchConfig(tokenizer, pretrain.model);
    const model: Checkpoint = { config, weights: initialiseWeights(config, seed), tokenizer };
    // A resumed run has weights already.
    if (startsWithWords(settings) && resumed === undefined) {
      const embedId = tokenizer.addToken(prompts.embedToken);
      const { logIdf, documents } = await collectionWords(text.corpus, tokenizer, prompts, work);
      const latent = pretrain.start === 'latent';
      if (latent) onNote('Finding which words go together.');
      const directions = latent
        ? await latentDirections(documents, logIdf, config.hiddenSize - 1, seed, work)
        : undefined;
      startLexically(model, logIdf, embedId, directions);
    }
    const trainer = new PretrainTrainer(model, source, { ...pretrain, seed }, pairs);
    try {
      await trainLoop(trainer, { watch: ['loss', 'info_nce'], ...loop });
    } finally {
      await trainer.dispose();
    }
    return Model.of(makePolicy(model, prompts));
  },
};

/** The prompts of a model from scratch. */
function scratchPrompts({
  data,
  prompts,
}: {
  data: string;
  prompts?: PromptOverrides | undefined;
}): TrainingPrompts {
  return resolvePrompts(prompts ?? (data === ATLAS ? ATLAS_PROMPTS : COLLECTION_PROMPTS));
}

const startsWithWords = ({ pretrain }: TrainingStageSettings) => (pretrain.start ?? 'random') !== 'random';

/** The tokenizer and what the model reads. Deterministic; a resumed run passes the tokenizer that it has. */
async function textSource(
  settings: TrainingStageSettings,
  corpus: readonly Document[],
  prompts: TrainingPrompts,
  known: Tokenizer | undefined,
  work: LongWorkOptions,
): Promise<{ tokenizer: Tokenizer; source: SequenceSource; pairs?: PairSource }> {
  const { data, seed, pretrain } = settings;
  const { batchSize, maxLength, contrastive } = pretrain;
  const { vocabSize = DEFAULT_VOCABULARY, chatShare = DEFAULT_CHAT_SHARE, lowercase = false } = pretrain;
  if (data === ATLAS) {
    const world = generateAtlas();
    const tokenizer = known ?? atlasTokenizer(world);
    // The stream's own default seed is 1.
    const whole = atlasSequences(world, tokenizer, batchSize, { seed: seed + 1 });
    return { tokenizer, source: async (step) => (await whole(step)).map((ids) => ids.slice(0, maxLength)) };
  }
  const tokenizer = known ?? (await collectionTokenizer(corpus, prompts, vocabSize, { lowercase }, work));
  const read = { batchSize, maxLength, chatShare, seed };
  const source = await collectionSequences(corpus, tokenizer, prompts, read, work);
  if (contrastive.batchSize === 0 && !startsWithWords(settings)) return { tokenizer, source };
  tokenizer.addToken(prompts.embedToken);
  if (contrastive.batchSize === 0) return { tokenizer, source };
  return { tokenizer, source, pairs: collectionPairs(corpus, tokenizer, prompts, { ...contrastive, seed }) };
}
