/**
 * Gradients of an adapter on an int8 base against those on the same base in float32: SmolLM2-135M-Instruct, claims of
 * SciFact and the abstracts that they are judged against, read where the preset `topics` reads.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { LINEAR_KINDS, PRESETS, resolvePrompts } from 'search-r3/checkpoint';
import { documentText, loadBeir } from 'search-r3/dataset';
import { CACHE_VARIABLE, Model } from 'search-r3/model';
import type { StepRequest } from 'search-r3/train';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

const SHARED = resolve(import.meta.dirname, '../../../../../shared/data');
const NAME = 'SmolLM2-135M-Instruct';
const path = join(SHARED, `models/${NAME}/${NAME}.Q4_1.gguf`);
const collection = join(SHARED, 'scifact');
const [BATCHES, PAIRS, TOKENS] = [8, 8, 48];

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'int8-gradient-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Claims with an abstract each, none of them twice. */
async function pairs(): Promise<[claim: string, abstract: string][]> {
  const { corpus, queries, qrels } = await loadBeir(collection);
  const documents = new Map(corpus.map((document) => [document.id, documentText(document)]));
  const used = new Set<string>();
  return [...(qrels.get('train') ?? [])].flatMap(([query, judged]) => {
    const document = [...judged].find(([id, grade]) => grade > 0 && !used.has(id))?.[0];
    if (document === undefined) return [];
    used.add(document);
    return [[queries.get(query)!.text, documents.get(document)!] as [string, string]];
  });
}

/** A step of InfoNCE on each batch; the gradients of all pairs of matrices side by side. */
async function gradients(precision: 'f32' | 'int8', examples: readonly [string, string][]) {
  const adapter = { rank: 16, alpha: 32, rsLora: false, targets: LINEAR_KINDS, seed: 1 };
  const recorded = { prompts: resolvePrompts() };
  await using model = await Model.loadTrainable(path, { precision, adapter, recorded });
  const engine = model.trainer(model.trainable({ tokenEmbeddings: 'frozen' }), {
    objective: { infoNce: { temperature: 0.05 } },
  });
  const prompt = PRESETS.topics.prompts.query.text.split('{text}');
  const [before, after] = await Promise.all(prompt.map((part) => model.tokenizer.encode(part)));
  const sequence = async (text: string) => {
    const ids = [...before!, ...(await model.tokenizer.encode(text)).slice(0, TOKENS), ...after!];
    return { ids, labels: [], embed: ids.length - 1 };
  };
  const found: Float32Array[] = [];
  for (let batch = 0; batch < BATCHES; batch++) {
    const own = examples.slice(batch * PAIRS, (batch + 1) * PAIRS);
    const sequences = await Promise.all(
      [...own.map(([claim]) => claim), ...own.map(([, text]) => text)].map(sequence),
    );
    const request: StepRequest = {
      sequences,
      contrastive: {
        anchors: own.map((_, i) => ({
          ...{ sequence: i, positive: i, infoNceWeight: 1 / PAIRS, tripletWeight: 0, falseNegatives: [] },
        })),
        documents: own.map((_, i) => PAIRS + i),
      },
    };
    const step = await engine.compute(request);
    found.push(
      Float32Array.from(
        [...step.gradients]
          .filter(([name]) => name.includes('lora_B'))
          .flatMap(([, gradient]) => [...gradient]),
      ),
    );
  }
  await engine.dispose();
  return found;
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

test.skipIf(!existsSync(path) || !existsSync(collection))(
  'on a real model they point the same way (skipped where ../shared/data is missing)',
  async () => {
    vi.stubEnv(CACHE_VARIABLE, root);
    const examples = await pairs();
    const exact = await gradients('f32', examples);
    const found = await gradients('int8', examples);
    vi.unstubAllEnvs();
    const cosines = exact.map((a, i) => dot(a, found[i]!) / Math.sqrt(dot(a, a) * dot(found[i]!, found[i]!)));
    // Seen: 0.953 to 0.988, mean 0.982.
    expect(cosines.reduce((a, b) => a + b) / BATCHES).toBeGreaterThan(0.97);
    expect(Math.min(...cosines)).toBeGreaterThan(0.93);
  },
  300_000,
);
