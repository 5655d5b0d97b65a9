/** The command `evaluate` as a plan of one stage. */
import type { Collection, Qrels } from '../dataset/index.js';
import { DEFAULT_SYSTEMS, type RetrieverSystem } from '../evaluate/index.js';
import { Model } from '../model/index.js';
import { exists, InputError } from '../run/index.js';
import type { EvaluateSettings } from './config.js';
import { modelFolder, WITHOUT_MODEL } from './data/folders.js';
import { loadCollection } from './data/load.js';
import { learnable, splitFor, splitOf, VALIDATION_SPLIT } from './data/split.js';
import { partProgress } from './part-progress.js';
import { type Evaluated, type FinishedEvaluation, finishedEvaluation } from './report/evaluation.js';
import { type Plan, planned, type RunOptions } from './run-plan.js';
import type { PolicyEvaluation } from './stages/evaluate.js';
import { STAGES } from './stages/index.js';

/** Queries below which the weight of a fusion is mostly theirs: it moves in steps of 0.05, and one query moves it. */
const FEW_TUNING_QUERIES = 30;

/** A model on a split of a collection. @throws InputError on anything wrong with settings, data or model. */
export async function evaluationPlan(
  settings: EvaluateSettings,
  options: RunOptions,
): Promise<Plan<FinishedEvaluation>> {
  const { data, seed, allowMissing, excludeSelf, analyzer, evaluate, embed } = settings;
  const { split, depth, tuningQueries } = evaluate;
  const { maxLength = embed.maxLength, maxNewTokens = embed.maxNewTokens } = evaluate;
  const model = await neededModel(settings);
  const report = options.progress && partProgress(options.progress);
  const policy =
    model === undefined
      ? undefined
      : await Model.load(model, {
          prompts: embed.prompts,
          precision: embed.precision,
          reasoning: evaluate.systems?.some(isReasoned),
          ...{ onNote: options.onNote, signal: options.signal },
          onProgress: report && ((done, total) => report({ part: 'quantised layers', done, total })),
        });
  const shared = splitFor(policy ?? {}, settings);
  const collection = await loadCollection(data, shared.seed, { allowMissing });
  const qrels: Qrels = new Map([...splitOf(collection, split)].slice(0, evaluate.queries));
  const tuning = tuningSplit(learnable(collection, allowMissing, shared), qrels);
  const systems = chosenSystems(evaluate.systems, {
    tunable: tuning !== undefined,
    canReason: policy?.prompts.reasoning !== undefined,
    data,
  });
  const stage = planned(
    STAGES.evaluate,
    {
      systems,
      controls: evaluate.controls,
      samples: evaluate.samples,
      temperature: evaluate.temperature,
      ...(tuning && { tuning: tuning.qrels }),
      tuningQueries,
      depth,
      excludeSelf,
      analyzer,
      ...(maxLength !== undefined && { maxLength }),
      ...(maxNewTokens !== undefined && { maxNewTokens }),
      seed,
      ...(options.progress && { onProgress: partProgress(options.progress) }),
    },
    { policy: () => policy, collection: () => collection, qrels: () => qrels },
  );
  const result = () => {
    const found = stage.output();
    const fusion = tuning === undefined ? null : fusionOf(found, tuning, tuningQueries, options);
    return finishedEvaluation({ model, data, split, excludeSelf, collection, qrels, fusion }, found);
  };
  return { stages: [stage], result };
}

interface Tuning {
  /** Of the split. */
  name: string;
  qrels: Qrels;
}

/** The weights of the hybrids and what they were tuned on; null without hybrids. */
function fusionOf(
  { weights }: PolicyEvaluation,
  { name, qrels }: Tuning,
  tuningQueries: number,
  { onNote }: RunOptions,
): Evaluated['fusion'] {
  if (Object.keys(weights).length === 0) return null;
  const queries = Math.min(qrels.size, tuningQueries);
  if (queries < FEW_TUNING_QUERIES) {
    onNote?.(
      `The weights of the hybrids are tuned on few training queries (${queries}, the split ${name}): ` +
        'others may give quite different ones.',
    );
  }
  return { weights, tunedOn: name, queries };
}

/**
 * The model of the settings; none if BM25 alone is asked for and there is none yet.
 * @throws InputError if no setting names it.
 */
async function neededModel(settings: EvaluateSettings): Promise<string | undefined> {
  const { systems = DEFAULT_SYSTEMS } = settings.evaluate;
  const lexical = systems.every((system) => system === 'bm25');
  if (settings.model === undefined && lexical) {
    const folder = settings.out === undefined ? undefined : modelFolder(settings);
    return folder !== undefined && (await exists(folder)) ? folder : undefined;
  }
  return modelFolder(settings, WITHOUT_MODEL);
}

/** Judgements to tune fusions on: validation queries, else training queries; never those that are evaluated. */
function tuningSplit({ qrels }: Collection, evaluated: Qrels): Tuning | undefined {
  for (const name of [VALIDATION_SPLIT, 'train', 'sft']) {
    const others = new Map([...(qrels.get(name) ?? [])].filter(([id]) => !evaluated.has(id)));
    if (others.size > 0) return { name, qrels: others };
  }
  return undefined;
}

const isHybrid = (system: RetrieverSystem) => system.startsWith('hybrid');
/** Whether a system writes reasoning. */
export const isReasoned = (system: RetrieverSystem): boolean =>
  system.endsWith('reasoned') || system.endsWith('fused');

function chosenSystems(
  asked: readonly RetrieverSystem[] | undefined,
  { tunable, canReason, data }: { tunable: boolean; canReason: boolean; data: string },
): readonly RetrieverSystem[] {
  const possible = DEFAULT_SYSTEMS.filter(
    (system) => (tunable || !isHybrid(system)) && (canReason || !isReasoned(system)),
  );
  if (tunable) return asked ?? possible;
  const hybrid = asked?.find(isHybrid);
  if (hybrid === undefined) return asked ?? possible;
  throw new InputError({
    source: data,
    field: 'qrels',
    expected: `a split dev or train to tune ${hybrid} on`,
    found: 'none',
  });
}
