/** Estimates of the commands that use a model: evaluation and indexing. */
import { DEFAULT_LIMITS } from '../../checkpoint/index.js';
import { inferenceWeights } from '../../decoder/index.js';
import { DEFAULT_SYSTEMS } from '../../evaluate/index.js';
import { EFFICIENCY, START_SECONDS } from './constants.js';
import { InferenceRehearsal } from './inference.js';
import { secondsOf } from './machine.js';
import { type ModelOutline, writtenTokens } from './outline.js';
import { type Part, type StageEstimate, stageEstimate, type TimedPart } from './parts.js';
import { always, type Surroundings } from './stages.js';
import { outlinedWeights } from './weights.js';

const FLOAT = Float32Array.BYTES_PER_ELEMENT;
/** Queries that are embedded together. */
const PIECE = 1024;

interface Use {
  name: 'evaluate' | 'index';
  documents: number;
  /** Queries, and how many of them after reasoning. */
  queries: number;
  reasoned: number;
  /** Vectors in memory at the same time. */
  vectors: number;
}

async function estimateUse(outline: ModelOutline, around: Surroundings, use: Use): Promise<StageEstimate> {
  const { settings, machine } = around;
  const { embed, evaluate } = settings;
  const { config, lengths, limits } = outline;
  const own = use.name === 'evaluate' ? evaluate : embed;
  const { maxLength = embed.maxLength ?? limits.maxLength ?? DEFAULT_LIMITS.maxLength } = own;
  const { maxNewTokens = embed.maxNewTokens ?? limits.maxNewTokens ?? DEFAULT_LIMITS.maxNewTokens } = own;
  const room = (reasoning: number) => Math.max(1, Math.min(maxLength, config.maxPositions - reasoning - 1));
  const weights = await outlinedWeights(outline, embed.precision);
  const { adapter } = outline;
  const form = adapter && { targets: adapter.targets, tokenId: outline.embedId };
  const { weightsIn } = inferenceWeights(weights.frozen, form);
  const sizes = adapter === undefined ? {} : { rank: adapter.rank };
  const model = new InferenceRehearsal(config, weightsIn, sizes);
  const cut = (all: readonly number[], reasoning = 0) =>
    all.map((length) => Math.min(length, room(reasoning)));
  const documents = secondsOf(model.encode(cut(lengths.document), use.documents), machine);
  const direct = secondsOf(model.encode(cut(lengths.query), use.queries - use.reasoned), machine);
  const times: TimedPart[] = [
    { name: 'start', seconds: START_SECONDS },
    { name: 'documents', seconds: documents / EFFICIENCY.encoding },
    { name: 'queries', seconds: direct / EFFICIENCY.encoding },
  ];
  const prompts = cut(lengths.reasoning, maxNewTokens);
  if (use.reasoned > 0 && prompts.length > 0) {
    const count = Math.min(use.reasoned, PIECE);
    const piece = Array.from({ length: count }, (_, i) => prompts[i % prompts.length] ?? 1);
    const newTokens = writtenTokens(lengths, maxNewTokens);
    const seconds = secondsOf(model.generate({ prompts: piece, maxNewTokens, newTokens }), machine);
    times.push({ name: 'reasoning', seconds: (seconds * use.reasoned) / count / EFFICIENCY.generation });
  }
  const vectors = use.vectors * FLOAT * config.hiddenSize;
  const parts: Part[] = [
    ...always(around, 'use'),
    ...weights.parts,
    ...model.parts,
    { name: 'vectors', bytes: vectors },
  ];
  return stageEstimate(use.name, [{ name: use.name, parts }], times);
}

export const estimateIndex = (outline: ModelOutline, around: Surroundings): Promise<StageEstimate> => {
  const { documents } = around.texts.count;
  return estimateUse(outline, around, {
    ...{ name: 'index', documents, queries: 0, reasoned: 0 },
    vectors: around.settings.index.ann ? 2 * documents : documents,
  });
};

/** @param judged queries of the split. */
export function estimateEvaluate(
  outline: ModelOutline,
  around: Surroundings,
  judged: number,
): Promise<StageEstimate> {
  const { evaluate } = around.settings;
  const { systems = DEFAULT_SYSTEMS, tuningQueries } = evaluate;
  const queries = Math.min(evaluate.queries ?? judged, judged);
  const canReason = outline.lengths.reasoning.length > 0;
  const passes = (dense: string, hybrid: string) => {
    const names = systems.map(String);
    // What is fused is tuned on training queries too.
    const fused = names.some((name) => name.endsWith('fused'));
    const tuned = names.includes(hybrid) || fused ? tuningQueries : 0;
    return names.includes(dense) || names.includes(hybrid) || fused ? queries + tuned : 0;
  };
  const reasoned = canReason ? passes('reasoned', 'hybrid_reasoned') : 0;
  const direct = passes('direct', 'hybrid');
  const { documents } = around.texts.count;
  return estimateUse(outline, around, {
    ...{ name: 'evaluate', queries: direct + reasoned, reasoned },
    ...(direct + reasoned > 0 ? { documents, vectors: 3 * documents } : { documents: 0, vectors: 0 }),
  });
}
