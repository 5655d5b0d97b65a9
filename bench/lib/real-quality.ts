/**
 * What precision costs in the `real` benchmark: perplexity and hidden states of a real model against its float32, greedy
 * text against transformers', and nDCG@10 of trained retrievers. REAL_SCIFACT_MODEL and REAL_ATLAS_MODEL name their
 * folders (default: where `train --config examples/scifact.yaml` and `demo` leave them).
 */
import { join, resolve } from 'node:path';
import { PRECISIONS, type Precision } from 'search-r3/decoder';
import type { EvaluationSummary } from 'search-r3/pipeline';
import { exists } from 'search-r3/run';
import type { BenchmarkOptions } from './benchmark.js';
import { command } from './command.js';
import { ROOT, scifactFolder } from './paths.js';
import type { RealModel } from './real-inputs.js';
import { type Greedy, ours, oursName, type Score, type System, transformers } from './real-systems.js';
import type { Part, Row } from './real-table.js';
import { mean } from './stats.js';

/** What the hidden states are compared with. */
const REFERENCE = transformers('f32');

/** Perplexity of each system, and cosines of its last hidden states with those of the reference. */
export async function precisions(model: RealModel, { log }: BenchmarkOptions): Promise<Part> {
  const systems: readonly System[] = [REFERENCE, transformers('bf16'), ...PRECISIONS.map(ours)];
  const figures: Record<string, object | string> = {};
  const rows: Row[] = [];
  let reference: Float32Array | undefined;
  for (const system of systems) {
    const { name } = system;
    const score = await askOnce<Score>(system, model, 'score', log);
    if (typeof score === 'string') {
      figures[name] = score;
      rows.push({ work: 'perplexity', what: name, unit: '', value: score });
      continue;
    }
    const perplexity = Math.exp(-score.logLikelihood / score.predicted);
    rows.push({ work: 'perplexity', what: name, unit: '', value: perplexity });
    const vectors = floatsOf(score.vectors);
    if (system === REFERENCE) reference = vectors;
    const cosines = reference === undefined ? undefined : cosinesOf(vectors, reference, score.sequences);
    figures[name] = { perplexity, ...cosines };
    if (cosines !== undefined && system !== REFERENCE) {
      rows.push(
        { work: 'hidden states', what: `${name}, mean cosine`, unit: '', value: cosines.meanCosine },
        { work: 'hidden states', what: `${name}, least cosine`, unit: '', value: cosines.leastCosine },
      );
    }
    log(`${name}: ${JSON.stringify(figures[name])}`);
  }
  return { figures, rows };
}

/** Greedy answers of float32 from the GGUF file against transformers' on the same weights. */
export async function greedyText(model: RealModel, { log }: BenchmarkOptions): Promise<Part> {
  const work = 'greedy text';
  const own = await askOnce<Greedy>(ours('f32'), model, 'greedy', log);
  const theirs = await askOnce<Greedy>(REFERENCE, model, 'greedy', log);
  if (typeof own === 'string' || typeof theirs === 'string') {
    const missing = typeof own === 'string' ? own : String(theirs);
    return { figures: missing, rows: [{ work, what: 'compared', unit: '', value: missing }] };
  }
  const equal = (field: keyof Greedy) =>
    own[field].filter((value, i) => JSON.stringify(value) === JSON.stringify(theirs[field][i])).length;
  const counts = { prompts: equal('prompts'), answers: equal('answers'), texts: equal('texts') };
  const differing = own.texts.flatMap((text, i) =>
    text === theirs.texts[i] ? [] : [{ ours: text, transformers: theirs.texts[i] }],
  );
  const unit = `of ${own.texts.length}`;
  return {
    figures: { chats: own.texts.length, equal: counts, differing },
    rows: [
      { work, what: 'prompts of equal tokens', unit, value: counts.prompts },
      { work, what: 'answers of equal tokens', unit, value: counts.answers },
      { work, what: 'answers of equal text', unit, value: counts.texts },
    ],
  };
}

async function askOnce<T>(
  system: System,
  model: RealModel,
  request: string,
  log: BenchmarkOptions['log'],
): Promise<T | string> {
  const peer = await system.start<T>(model, log);
  if (typeof peer === 'string') return peer;
  log(`${system.name}: ${request}`);
  try {
    return await peer.ask(request);
  } finally {
    await peer.stop();
  }
}

function floatsOf(base64: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(base64, 'base64'));
  return new Float32Array(bytes.buffer);
}

/** Of unit rows. */
function cosinesOf(
  a: Float32Array,
  b: Float32Array,
  rows: number,
): { meanCosine: number; leastCosine: number } {
  const width = a.length / rows;
  const cosines = Array.from({ length: rows }, (_, row) => {
    let cosine = 0;
    for (let i = row * width; i < (row + 1) * width; i++) cosine += a[i] * b[i];
    return cosine;
  });
  return { meanCosine: mean(cosines), leastCosine: Math.min(...cosines) };
}

interface Retriever {
  work: string;
  model: string;
  remedy: string;
  data: string;
  flags: readonly string[];
}

const retrievers = (): readonly Retriever[] => [
  {
    work: 'SciFact',
    model: resolve(process.env.REAL_SCIFACT_MODEL ?? join(ROOT, 'runs/scifact/model')),
    remedy: 'REAL_SCIFACT_MODEL names a model trained with examples/scifact.yaml',
    data: scifactFolder(),
    flags: ['--config', join(ROOT, 'examples/scifact.yaml'), '--split', 'test'],
  },
  {
    work: 'Atlas',
    model: resolve(process.env.REAL_ATLAS_MODEL ?? join(ROOT, 'runs/demo/model')),
    remedy: 'REAL_ATLAS_MODEL names the model of a demo',
    data: 'atlas',
    flags: ['--split', 'test'],
  },
];

/** nDCG@10 of direct and reasoned embeddings, and of each precision minus float32. */
export async function retrieval({ quick, log }: BenchmarkOptions): Promise<Part> {
  const figures: Record<string, unknown> = {};
  const rows: Row[] = [];
  const notes: string[] = [];
  for (const { work, model, remedy, data, flags } of retrievers()) {
    if (!(await exists(model)) || (data !== 'atlas' && !(await exists(data)))) {
      figures[work] = 'no model or data';
      rows.push({ work, what: 'nDCG@10', unit: '', value: 'no model or data' });
      notes.push(`${work}: ${remedy}.`);
      continue;
    }
    const byPrecision: Partial<Record<Precision, Record<string, number>>> = {};
    for (const precision of ['f32', 'int8'] as const) {
      const args = ['--model', model, '--data', data, ...flags, '--precision', precision];
      const { result } = await command<EvaluationSummary>(
        'evaluate',
        [
          ...args,
          '--systems',
          'direct',
          'reasoned',
          ...(quick ? ['--queries', '10', '--max-length', '48'] : []),
        ],
        (text) => log(`${work} ${text}`),
      );
      const scores = Object.fromEntries(
        result.systems.map(({ system, scores: own }) => [system, own['ndcg@10'].mean]),
      );
      byPrecision[precision] = scores;
      for (const [system, value] of Object.entries(scores)) {
        rows.push({ work, what: `${oursName(precision)}, ${system}`, unit: 'nDCG@10', value });
        const base = byPrecision.f32?.[system];
        if (precision === 'f32' || base === undefined) continue;
        rows.push({ work, what: `${precision} minus f32, ${system}`, unit: 'nDCG@10', value: value - base });
      }
    }
    figures[work] = byPrecision;
  }
  return { figures, rows, notes };
}
