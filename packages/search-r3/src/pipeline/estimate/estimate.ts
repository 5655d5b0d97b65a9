/** Memory and time of a command, from its settings, before anything large is loaded. */
import { join } from 'node:path';
import { atlasCollection, generateAtlas, loadBeirQrels } from '../../dataset/index.js';
import { exists, InputError } from '../../run/index.js';
import { modelFolder, WITHOUT_MODEL } from '../data/folders.js';
import { isReasoned } from '../evaluation-plan.js';
import { ATLAS, type Settings } from '../settings.js';
import { measureThroughput, type Throughput } from './machine.js';
import { type ModelOutline, outlineOfBase, outlineOfModel, outlineOfScratch } from './outline.js';
import type { StageEstimate } from './parts.js';
import { estimatePretrain, estimateRl, estimateSft, type Surroundings } from './stages.js';
import { sampleTexts, type TextSample } from './texts.js';
import { estimateEvaluate, estimateIndex } from './use.js';
import { floatBytes } from './weights.js';

/** Commands that take long. */
export const ESTIMATED = ['train', 'pretrain', 'sft', 'rl', 'evaluate', 'index'] as const;

export type EstimatedCommand = (typeof ESTIMATED)[number];

export interface CommandEstimate {
  command: EstimatedCommand;
  stages: StageEstimate[];
  /** The largest peak of a stage, in bytes. */
  peak: number;
  /** Of all stages. */
  seconds: number;
}

export type DataSettings = Settings & { data: string };

/** What the estimates of a command start from. Settings that name the same model and data share it. */
export interface Basis {
  texts: TextSample;
  machine: Throughput;
  /** What the first stage starts from. */
  outline: ModelOutline;
  /** Judged queries of the split to evaluate. */
  judged: number;
}

/**
 * Reads what estimates follow from: the model's config and tokenizer, and a sample of the texts; and measures the
 * machine for a few hundred milliseconds.
 * @throws InputError as the command would, for a model or a collection that cannot be read.
 */
export async function basisOf(command: EstimatedCommand, settings: DataSettings): Promise<Basis> {
  const texts = await sampleTexts(settings.data);
  return {
    texts,
    outline: await outlineFor(command, settings, texts),
    machine: await measureThroughput(),
    judged: command === 'evaluate' ? await judgedQueries(settings) : 0,
  };
}

function outlineFor(
  command: EstimatedCommand,
  settings: DataSettings,
  texts: TextSample,
): Promise<ModelOutline> {
  const { base, embed } = settings;
  switch (command) {
    case 'train':
      return base === undefined ? outlineOfScratch(texts, settings) : outlineOfBase(base, texts, settings);
    case 'pretrain':
      return outlineOfScratch(texts, settings);
    case 'sft':
      return outlineOfBase(base ?? missing('base'), texts, settings);
    case 'rl':
      return outlineOfModel(settings.model ?? missing('model'), texts, { reasoning: true });
    case 'evaluate':
      return outlineOfModel(modelFolder(settings, WITHOUT_MODEL), texts, {
        prompts: embed.prompts,
        reasoning: settings.evaluate.systems?.some(isReasoned),
      });
    case 'index':
      return outlineOfModel(modelFolder(settings), texts, { prompts: embed.prompts });
    default:
      return command satisfies never;
  }
}

function missing(field: 'base' | 'model'): never {
  throw new InputError({ source: 'settings', field, expected: 'the folder of a model', found: 'nothing' });
}

/** Judged queries of the split that is evaluated. */
async function judgedQueries({ data, seed, evaluate: { split } }: DataSettings): Promise<number> {
  if (data === ATLAS) return atlasCollection(generateAtlas(), seed).qrels.get(split)?.size ?? 0;
  const path = join(data, 'qrels', `${split}.tsv`);
  return (await exists(path)) ? (await loadBeirQrels(path)).size : 0;
}

export async function estimate(
  command: EstimatedCommand,
  settings: DataSettings,
  { outline, texts, machine, judged }: Basis,
): Promise<CommandEstimate> {
  const around: Surroundings = { settings, texts, machine };
  const stages = await stagesOf(command, outline, around, judged);
  return {
    command,
    stages,
    peak: Math.max(...stages.map(({ peak }) => peak)),
    seconds: stages.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

async function stagesOf(
  command: EstimatedCommand,
  outline: ModelOutline,
  around: Surroundings,
  judged: number,
): Promise<StageEstimate[]> {
  switch (command) {
    case 'train': {
      const scratch = around.settings.base === undefined;
      // The base model that was given stays loaded until the run ends.
      const held = scratch || around.settings.lora !== undefined ? 0 : floatBytes(outline.config);
      const later = { ...around, held };
      const first = scratch ? [await estimatePretrain(outline, around)] : [];
      return [...first, await estimateSft(outline, around), await estimateRl(outline, later)];
    }
    case 'pretrain':
      return [await estimatePretrain(outline, around)];
    case 'sft':
      return [await estimateSft(outline, around)];
    case 'rl':
      return [await estimateRl(outline, around)];
    case 'evaluate':
      return [await estimateEvaluate(outline, around, judged)];
    case 'index':
      return [await estimateIndex(outline, around)];
    default:
      return command satisfies never;
  }
}
