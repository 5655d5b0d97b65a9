/**
 * Training of the `real` benchmark: whole contrastive steps of SmolLM2, the same tokens, objective and initial adapter on
 * both sides. Queries and documents of SciFact end with the embed token, where they are read.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { directPrompts, LINEAR_KINDS, loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { documentText, loadBeir } from 'search-r3/dataset';
import { Model, makePolicy } from 'search-r3/model';
import { exists } from 'search-r3/run';
import type { OptimizationOptions } from 'search-r3/train';
import type { BenchmarkOptions } from './benchmark.js';
import { QUANTISED, REAL_CACHE, scifactFolder } from './paths.js';
import { type Peer, startPeer } from './peer.js';
import type { RealModel } from './real-inputs.js';
import { ENVIRONMENT } from './real-ours.js';
import { installed, NOT_INSTALLED, type Timed, threadCount } from './real-systems.js';
import type { Part, Row } from './real-table.js';
import { alternate, ratios, summary } from './stats.js';

export interface TrainingInputs {
  queries: number[][];
  /** The positives of the queries, in their order, then a negative of each. */
  documents: number[][];
  temperature: number;
  /** Both sides run it in pieces, with a gradient cache. Else in one pass. */
  cached: boolean;
}

export const readTrainingInputs = async (path: string): Promise<TrainingInputs> =>
  JSON.parse(await readFile(path, 'utf8')) as TrainingInputs;

export const OPTIMIZATION: Omit<OptimizationOptions, 'maxTokens'> = {
  learningRate: 1e-5,
  schedule: 'constant',
  warmupSteps: 0,
  finalLearningRate: 1,
  weightDecay: 0.01,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  checkpointActivations: false,
};

interface Step extends Timed {
  loss: number;
  norm: number;
}

/** Ours, and what a user would pick instead. One pair runs at a time: together they would not fit into memory. */
const PAIRS = [
  ['lora int8', 'lora bf16'],
  ['lora f32', 'lora f32'],
  ['full f32', 'full f32'],
] as const;
type Pair = (typeof PAIRS)[number];

/** A batch that fits into memory in one pass, and one that needs a gradient cache. */
export async function training(model: RealModel, options: BenchmarkOptions): Promise<Part> {
  const { quick } = options;
  const rows: Row[] = [];
  const figures: Record<string, unknown> = {};
  const keep = async (queries: number, cached: boolean, pair: Pair) => {
    const part = await steps(model, { queries, cached, pair }, options);
    figures[`${queries} queries, ${pair.join(' against ')}`] = part.figures;
    rows.push(...part.rows);
  };
  for (const pair of PAIRS) await keep(quick ? 2 : 8, false, pair);
  await keep(quick ? 4 : 32, true, PAIRS[0]);
  return { figures, rows };
}

/** Tokens/s of whole steps of both sides, without padding. */
async function steps(
  model: RealModel,
  { queries, cached, pair }: { queries: number; cached: boolean; pair: Pair },
  { quick, log }: BenchmarkOptions,
): Promise<Part> {
  const { base, adapter, inputs } = await prepared(model, queries, cached);
  const work = `train, ${queries} queries`;
  const [own, other] = [`search-r3 ${pair[0]}`, `transformers ${pair[1]}`];
  const args = (kind: string) => [base, inputs, ...kind.split(' '), String(threadCount()), adapter];
  const python = await installed('python', 'venv/bin/python', log);
  const missing = { figures: NOT_INSTALLED, rows: [{ work, what: other, unit: '', value: NOT_INSTALLED }] };
  if (python === undefined) return missing;
  const peers: Record<string, Peer<Step>> = {
    [own]: await startPeer<Step>('real-training-child.js', args(pair[0]), { env: ENVIRONMENT }),
    [other]: await startPeer<Step>('real_training.py', args(pair[1]), { python }),
  };
  const peakMb: Record<string, number> = {};
  const sides: Record<string, () => Promise<number>> = {};
  const first: Record<string, Step> = {};
  try {
    for (const [name, peer] of Object.entries(peers)) {
      sides[name] = async () => {
        const step = await peer.ask('step');
        first[name] ??= step;
        peakMb[name] = step.peakMb;
        return step.tokens / step.seconds;
      };
      // The first step makes programs; it also tells whether both sides compute the same.
      await sides[name]();
      const { loss, norm } = first[name];
      log(`${work}, ${name}: loss ${loss.toFixed(4)}, gradient norm ${norm.toFixed(4)}`);
    }
    const rates = await alternate(sides, quick ? 1 : 3, (round, values) => {
      const line = Object.entries(values).map(([name, all]) => `${name} ${all[round].toPrecision(4)}`);
      log(`${work}, round ${round + 1}: ${line.join(', ')}`);
    });
    const ratio = summary(ratios(rates[own], rates[other]));
    const tokensPerSecond = Object.fromEntries(
      Object.entries(rates).map(([name, all]) => [name, summary(all)]),
    );
    const rows: Row[] = [
      ...Object.entries(tokensPerSecond).map(([what, value]) => ({ work, what, unit: 'tokens/s', value })),
      { work, what: `${own} / ${other}`, unit: 'times', value: ratio },
      ...Object.entries(peakMb).map(([what, value]) => ({ work, what: `${what}, peak`, unit: 'MB', value })),
    ];
    return { figures: { tokensPerSecond, ratio, peakMb, first }, rows };
  } finally {
    await Promise.all(Object.values(peers).map((peer) => peer.stop()));
  }
}

/** The base with its embed token as float32, an adapter that changes nothing yet, and the token ids. */
async function prepared({ gguf }: RealModel, count: number, cached: boolean) {
  const base = join(REAL_CACHE, 'training-base');
  const adapter = join(REAL_CACHE, 'training-adapter');
  process.env.SEARCH_R3_CACHE = QUANTISED;
  if (!(await exists(base))) await saveCheckpoint(base, makePolicy(await loadCheckpoint(gguf)));
  if (!(await exists(adapter))) {
    const shape = { rank: 16, alpha: 32, rsLora: false, targets: LINEAR_KINDS };
    await using model = await Model.loadTrainable(base, { precision: 'f32', adapter: shape });
    await model.save(adapter);
  }
  await using model = await Model.loadTrainable(adapter, { precision: 'f32' });
  const { corpus, queries, qrels } = await loadBeir(scifactFolder());
  const texts = new Map(corpus.map((document) => [document.id, documentText(document)]));
  const judged = [...(qrels.get('train') ?? [])].slice(0, count);
  const positives = judged.map(([, grades]) => [...grades.keys()][0]);
  const negatives = corpus.filter(({ id }) => !positives.includes(id)).slice(0, judged.length);
  const limit = { maxTokens: 160 };
  const idsOf = async (asked: string[], role: 'query' | 'document') =>
    (await directPrompts(model.tokenizer, model.prompts, asked, role, limit)).map(({ ids }) => [...ids]);
  const found: TrainingInputs = {
    queries: await idsOf(
      judged.map(([id]) => queries.get(id)?.text ?? ''),
      'query',
    ),
    documents: await idsOf(
      [...positives, ...negatives.map(({ id }) => id)].map((id) => texts.get(id) ?? ''),
      'document',
    ),
    temperature: 0.05,
    cached,
  };
  const inputs = join(REAL_CACHE, `inputs-training-${count}.json`);
  await writeFile(inputs, JSON.stringify(found));
  return { base, adapter, inputs };
}
