/** The three stages as commands run them: settings, data and model checked against each other, then a run folder. */
import { join } from 'node:path';
import {
  type Checkpoint,
  checkpointFingerprint,
  initialiseWeights,
  resolvePrompts,
} from '../checkpoint/index.js';
import { type Document, generateAtlas } from '../dataset/index.js';
import { makePolicy, type Policy } from '../decoder/index.js';
import {
  atlasSequences,
  atlasTokenizer,
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
} from '../pretrain/index.js';
import type { ResolvedRlOptions } from '../rl/index.js';
import type { LongWorkOptions } from '../run/index.js';
import { type LoopOptions, type ResolvedSftOptions, trainLoop } from '../sft/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import { type Sized, sizedToCollection } from './collection-size.js';
import type { PretrainSettings, RlSettings, SftSettings } from './config.js';
import { evaluatePolicy } from './evaluate.js';
import { partProgress } from './part-progress.js';
import type { Settings } from './settings.js';
import { ATLAS } from './settings.js';
import type { StageResult } from './stage-result.js';
import { type RunOptions, runStage } from './stage-run.js';
import { runRl, runSft } from './stages.js';
import {
  basePrompts,
  promptLimit,
  readingSettings,
  rlLimits,
  rlOptions,
  scratchPrompts,
  sftLimits,
  sftOptions,
  type TrainingContext,
} from './training.js';
import { VALIDATION_SPLIT } from './validation.js';

/** Settings that change no number of a run, and names of what fingerprints identify. */
const FREE = ['data', 'base', 'model', 'saveEvery', 'validation.every', 'validation.queries'];

const nameOf = ({ source = 'settings' }: RunOptions) => source;

const DEFAULT_VOCABULARY = 8192;
const DEFAULT_CHAT_SHARE = 0.5;

/** A small model from scratch on the text of a collection; `fingerprint` is that of the text. */
export async function pretrainStage(
  folder: string,
  asked: PretrainSettings,
  text: { corpus: readonly Document[]; fingerprint: string },
  options: RunOptions,
): Promise<StageResult> {
  const settings = sizedToCollection(asked, { documents: text.corpus.length }, options);
  const { data, seed, pretrain, saveEvery } = settings;
  const prompts = resolvePrompts(scratchPrompts(settings));
  const fingerprints = { data: text.fingerprint };
  const train = async (loop: LoopOptions): Promise<Checkpoint> => {
    const resumed = loop.run?.resumed;
    if (resumed === undefined && data !== ATLAS) options.onNote?.('Learning a vocabulary from the corpus.');
    const known = resumed && (await Tokenizer.load(join(resumed.path, 'model'), { asWritten: true }));
    const { progress, signal } = loop;
    const work = { signal, ...(progress && { onProgress: partProgress(progress, 'pretrain') }) };
    const { tokenizer, source, pairs } = await textSource(settings, text.corpus, prompts, known, work);
    const config = scratchConfig(tokenizer, pretrain.model);
    const model: Checkpoint = { config, weights: initialiseWeights(config, seed), tokenizer };
    // A resumed run has weights already.
    if (startsWithWords(pretrain) && resumed === undefined) {
      const embedId = tokenizer.addToken(prompts.embedToken);
      const { logIdf, documents } = await collectionWords(text.corpus, tokenizer, prompts, work);
      const latent = pretrain.start === 'latent';
      if (latent) options.onNote?.('Finding which words go together.');
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
    return makePolicy(model, prompts);
  };
  const config = { data, seed, prompts, pretrain, saveEvery, fingerprints };
  return runStage(
    { stage: 'pretrain', folder, config, mayChange: [...FREE, 'pretrain.steps'], saveEvery, train },
    options,
  );
}

const startsWithWords = ({ start = 'random' }: PretrainSettings['pretrain']) => start !== 'random';

/** The tokenizer and what the model reads. Deterministic: a resumed run has the tokenizer already. */
async function textSource(
  { data, seed, pretrain }: Sized<PretrainSettings>,
  corpus: readonly Document[],
  prompts: ReturnType<typeof resolvePrompts>,
  known: Tokenizer | undefined,
  work: LongWorkOptions,
): Promise<{ tokenizer: Tokenizer; source: SequenceSource; pairs?: PairSource }> {
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
  if (contrastive.batchSize === 0 && !startsWithWords(pretrain)) return { tokenizer, source };
  tokenizer.addToken(prompts.embedToken);
  if (contrastive.batchSize === 0) return { tokenizer, source };
  return { tokenizer, source, pairs: collectionPairs(corpus, tokenizer, prompts, { ...contrastive, seed }) };
}

/** Lengths in tokens: of a prompt, and of the reasoning. */
interface Limits {
  maxLength: number;
  maxNewTokens: number;
}

/**
 * Stage 1 on a base model. `validationLimits` are those of what it is compared with on the validation queries; default
 * its own.
 */
export async function sftStage(
  folder: string,
  asked: Omit<SftSettings, 'base' | 'out'> & { base?: string | undefined },
  base: Checkpoint,
  context: TrainingContext,
  options: RunOptions & { validationLimits?: (policy: Policy) => Promise<Limits> },
): Promise<StageResult> {
  const { collection, data } = context;
  const settings = sizedToCollection(asked, { sft: data.sft.length }, options);
  const { seed, saveEvery, queries, validation } = settings;
  const made = makePolicy(base, basePrompts(settings, base));
  const sft = await limitedSft(sftOptions(settings), made, options);
  const start: Policy = { ...made, limits: sftLimits(sft), split: context.split };
  warnOfHighRate(start, sft.optimization.learningRate, 'sft', options);
  const config = {
    data: settings.data,
    ...(settings.base !== undefined && { base: settings.base }),
    seed,
    ...readingSettings(settings),
    prompts: start.prompts,
    queries,
    validation,
    sft: settings.sft,
    saveEvery,
    fingerprints: { data: context.fingerprint, base: checkpointFingerprint(start) },
  };
  let policy = start;
  const own = { maxLength: sft.maxLength, maxNewTokens: sft.reasoning.maxNewTokens };
  const limits = (await options.validationLimits?.(start)) ?? own;
  return runStage(
    {
      stage: 'sft',
      folder,
      config,
      mayChange: [...FREE, 'sft.steps'],
      saveEvery,
      train: async (loop) => {
        policy = await runSft(start, data, sft, loop);
        return policy;
      },
      evaluate: validationScores(
        () => policy,
        { collection, settings, options },
        ['direct', 'reasoned'],
        limits,
      ),
    },
    options,
  );
}

/** Stage 2 on a policy, whose weights it changes. */
export async function rlStage(
  folder: string,
  asked: Omit<RlSettings, 'model' | 'out'> & { model?: string | undefined },
  start: Policy,
  context: TrainingContext,
  options: RunOptions,
): Promise<StageResult> {
  const { collection, data } = context;
  const settings = sizedToCollection(asked, { rl: data.rl.length }, options);
  const { seed, saveEvery, queries, validation } = settings;
  const rl = await limitedRl(rlOptions(settings), start, options);
  const policy = { ...start, limits: rlLimits(rl), split: context.split };
  warnOfHighRate(policy, rl.optimization.learningRate, 'rl', options);
  const limits = rlLimits(rl);
  const scores = (systems: readonly ('direct' | 'reasoned')[]) =>
    validationScores(() => policy, { collection, settings, options }, systems, limits);
  const reasoned = scores(['reasoned']);
  const config = {
    data: settings.data,
    ...(settings.model !== undefined && { model: settings.model }),
    seed,
    ...readingSettings(settings),
    queries,
    validation,
    rl: settings.rl,
    saveEvery,
    fingerprints: { data: context.fingerprint, model: checkpointFingerprint(policy) },
  };
  return runStage(
    {
      stage: 'rl',
      folder,
      config,
      mayChange: [...FREE, 'rl.steps'],
      saveEvery,
      train: async (loop) => {
        await runRl(policy, collection, data, rl, {
          ...loop,
          evaluateEvery: validation.every,
          ...(reasoned && {
            evaluate: async () => ({ reasoned: { 'ndcg@10': (await reasoned()).reasoned ?? null } }),
          }),
        });
        return policy;
      },
      evaluate: scores(['direct', 'reasoned']),
    },
    options,
  );
}

/** The options of stage 1 with lengths within the model's. @throws InputError where its prompts do not fit. */
export async function limitedSft(
  sft: ResolvedSftOptions,
  policy: Policy,
  options: RunOptions,
): Promise<ResolvedSftOptions> {
  const reasoning = sft.reasoning.enabled ? sft.reasoning.maxNewTokens : 0;
  const limits = { maxLength: sft.maxLength, reasoning };
  const fields = { maxLength: 'sft.maxLength', reasoning: 'sft.reasoning.maxNewTokens' };
  return { ...sft, maxLength: await promptLimit(policy, limits, nameOf(options), fields) };
}

/** The options of stage 2 with lengths within the model's. @throws InputError where its prompts do not fit. */
export async function limitedRl(
  rl: ResolvedRlOptions,
  policy: Policy,
  options: RunOptions,
): Promise<ResolvedRlOptions> {
  const limits = { maxLength: rl.maxLength, reasoning: rl.maxNewTokens };
  const fields = { maxLength: 'rl.maxLength', reasoning: 'rl.maxNewTokens' };
  return { ...rl, maxLength: await promptLimit(policy, limits, nameOf(options), fields) };
}

/** Parameters from which on a model is one that was pre-trained on much text, and the rate that would undo that. */
const LARGE = 100e6;
const HIGH_RATE = 1e-4;

/** The defaults are for models of a few million parameters. */
function warnOfHighRate(
  { weights }: Pick<Checkpoint, 'weights'>,
  rate: number,
  stage: 'sft' | 'rl',
  { onNote = () => {} }: RunOptions,
): void {
  const size = [...weights.values()].reduce((sum, { data }) => sum + data.length, 0);
  if (size < LARGE || rate <= HIGH_RATE) return;
  const model = `a model of ${Math.round(size / 1e6)} million parameters`;
  onNote(`warning: ${stage}.optimization.learningRate ${rate} is high for ${model}; 2e-5 or less is usual.`);
}

/** nDCG@10 on the validation queries by system; undefined where there are none. */
function validationScores(
  policy: () => Policy,
  {
    collection,
    settings,
    options,
  }: Pick<TrainingContext, 'collection'> & {
    settings: Settings;
    options: RunOptions;
  },
  systems: readonly ('direct' | 'reasoned')[],
  limits: Limits,
): (() => Promise<Record<string, number>>) | undefined {
  const { queries } = settings.validation;
  const all = collection.qrels.get(VALIDATION_SPLIT);
  if (all === undefined || queries === 0) return undefined;
  const qrels = new Map([...all].slice(0, queries));
  return async () => {
    const { evaluation } = await evaluatePolicy(policy(), collection, qrels, {
      systems,
      ...limits,
      excludeSelf: settings.excludeSelf,
      seed: settings.seed,
      ...(options.signal && { signal: options.signal }),
      ...(options.progress && { onProgress: partProgress(options.progress, 'validation') }),
    });
    return Object.fromEntries(
      evaluation.systems.map(({ system, scores }) => [system, scores['ndcg@10'].mean]),
    );
  };
}
