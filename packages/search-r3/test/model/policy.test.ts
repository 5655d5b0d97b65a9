/** Policies: how a base becomes one, what copies share, and that one reloaded embeds as the one saved. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Checkpoint,
  directPrompt,
  EMBED_TOKEN,
  loadCheckpoint,
  presetFormat,
  resolvePrompts,
  saveCheckpoint,
} from 'search-r3/checkpoint';
import { asPolicy, frozenCopy, Model, makeEmbeddingModel, makePolicy, type Policy } from 'search-r3/model';
import { ATLAS_PROMPTS } from 'search-r3/pretrain';
import { InputError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyBase, tinyPolicy } from '../decoder/tiny-policy.js';
import { relativeError } from '../reference/finite-differences.js';

const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
const data = ({ weights }: Checkpoint, name: string): Float32Array => weights.get(name)!.data;

describe('makePolicy', () => {
  test('adds the embed token with a row in embedding and head, the mean of the others', () => {
    const base = tinyBase();
    const { vocabSize, hiddenSize } = base.config;
    const policy = makePolicy(base);
    expect(policy.embedId).toBe(vocabSize);
    expect(policy.tokenizer.tokenOf(policy.embedId)).toBe(EMBED_TOKEN);
    expect(policy.config.vocabSize).toBe(vocabSize + 1);
    for (const name of [EMBEDDING, HEAD]) {
      const rows = data(policy, name);
      expect(rows.slice(0, vocabSize * hiddenSize)).toEqual(data(base, name));
      const mean = Array.from({ length: hiddenSize }, (_, column) => {
        const values = Array.from({ length: vocabSize }, (_, row) => rows[row * hiddenSize + column]!);
        return values.reduce((a, b) => a + b, 0) / vocabSize;
      });
      expect(relativeError(rows.slice(vocabSize * hiddenSize), mean)).toBeLessThan(1e-6);
    }
  });

  test('or starts it as another token: it then embeds as the text with that token does', async () => {
    const base = tinyBase();
    const init = {
      ...ATLAS_PROMPTS,
      embedTokenInit: 'dance',
      query: { system: 'represent', assistant: 'food' },
    };
    const policy = makePolicy(base, init);
    const { hiddenSize } = base.config;
    const from = base.tokenizer.idOf('dance')! * hiddenSize;
    for (const name of [EMBEDDING, HEAD]) {
      expect(data(policy, name).slice(policy.embedId * hiddenSize)).toEqual(
        data(base, name).slice(from, from + hiddenSize),
      );
    }
    // The oracle: the same prompt with the token itself in place of the embed token.
    const { ids } = await directPrompt(policy.tokenizer, policy.prompts, 'new tower', 'query');
    await using model = Model.of(policy);
    const encoder = await model.encoder();
    const found = await encoder.encode([ids]);
    expect(found).toEqual(await encoder.encode([[...ids.slice(0, -1), base.tokenizer.idOf('dance')!]]));
    expect(() => makePolicy(base, { embedTokenInit: 'unknown' })).toThrow(
      'prompts.embedTokenInit: expected a token of the vocabulary, as the tokenizer writes it, found unknown',
    );
  });

  test('so does an adapter on the base', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'init-'));
    const init = { ...ATLAS_PROMPTS, embedTokenInit: 'dance' };
    const base = tinyBase();
    await saveCheckpoint(join(folder, 'base'), base);
    const adapter = { rank: 2, alpha: 2, rsLora: false, targets: ['q_proj'] as const };
    await using model = await Model.loadTrainable(join(folder, 'base'), {
      ...{ precision: 'f32', adapter, recorded: { prompts: resolvePrompts(init) } },
    });
    const { hiddenSize } = base.config;
    const from = base.tokenizer.idOf('dance')! * hiddenSize;
    const row = model.adapter!.weights.get(`${EMBEDDING}[embed]`)!.data;
    expect(row).toEqual(data(base, EMBEDDING).slice(from, from + hiddenSize));
    await rm(folder, { recursive: true });
  });

  test('leaves the base as it is, so that it can become a policy twice', () => {
    const base = tinyBase();
    const first = makePolicy(base);
    expect(base.config.vocabSize).toBe(base.tokenizer.vocabSize);
    expect(base.tokenizer.idOf(EMBED_TOKEN)).toBeUndefined();
    expect(base.prompts).toBeUndefined();
    const second = makePolicy(base);
    expect(second.config.vocabSize).toBe(first.config.vocabSize);
    expect(data(second, EMBEDDING)).toEqual(data(first, EMBEDDING));
    expect(second.embedId).toBe(first.embedId);
  });

  test('keeps the prompts there are, and takes those given', () => {
    const given = makePolicy(tinyBase(), ATLAS_PROMPTS);
    expect(given.prompts.query).toEqual({ system: 'represent', assistant: 'the embedding is' });
    expect(makePolicy(given).prompts).toEqual(given.prompts);
    const other = makePolicy(given, { query: { system: 'reason' } });
    expect(other.prompts.query).toEqual({ system: 'reason', assistant: 'The embedding is' });
    // The token was there already.
    expect(other.config.vocabSize).toBe(given.config.vocabSize);
    expect(data(other, EMBEDDING)).toEqual(data(given, EMBEDDING));
  });

  test("a policy stops at the tokenizer's end, not at the embed token", () => {
    const policy = tinyPolicy();
    expect(policy.stopIds).toEqual([policy.tokenizer.idOf('<|endoftext|>')]);
  });
});

test('a base model is no policy, and the error says what is missing', () => {
  const plain = { ...tinyBase(), ...presetFormat('topics') };
  for (const [base, found] of [
    [tinyBase(), 'none'],
    [plain, 'others, of the preset topics'],
  ] as const) {
    expect(() => asPolicy(base, 'models/base')).toThrow(InputError);
    expect(() => asPolicy(base, 'models/base')).toThrow(
      `models/base: prompts: expected conversations that end with an embed token, one of them after reasoning, found ${found}.`,
    );
  }
});

describe('makeEmbeddingModel', () => {
  test('takes a base as it is: the preset topics, and no embed token', () => {
    const base = tinyBase();
    const model = makeEmbeddingModel(base);
    expect(model).toMatchObject({ preset: 'topics', embedId: undefined });
    expect(model.tokenizer.vocabSize).toBe(base.config.vocabSize);
    expect(model.weights).toEqual(base.weights);
    expect(base.prompts).toBeUndefined();
  });

  test('with prompts that need it, adds the embed token as the row after a full vocabulary', () => {
    const base = tinyBase();
    // As SmolLM2: as many rows as ids, so the token is the first id beyond.
    expect(base.config.vocabSize).toBe(base.tokenizer.vocabSize);
    const model = makeEmbeddingModel({ ...base, ...presetFormat('search-r3') });
    expect(model.embedId).toBe(base.config.vocabSize);
    expect(model.config.vocabSize).toBe(base.config.vocabSize + 1);
    expect(data(model, EMBEDDING)).toEqual(data(makePolicy(tinyBase()), EMBEDDING));
    expect(data(base, EMBEDDING)).toHaveLength(base.config.vocabSize * base.config.hiddenSize);
  });

  test('is a policy where prompts are those of training', () => {
    const policy = tinyPolicy();
    const { tokenizer, ...model } = makeEmbeddingModel(policy);
    expect(policy).toMatchObject(model);
    expect(tokenizer.fingerprint()).toBe(policy.tokenizer.fingerprint());
  });
});

test('a frozen copy has weights of its own', () => {
  const policy = tinyPolicy();
  const copy = frozenCopy(policy);
  const before = data(policy, EMBEDDING).slice();
  data(policy, EMBEDDING).fill(7);
  expect(data(copy, EMBEDDING)).toEqual(before);
});

/** float32 to bfloat16 and back, to the nearest, ties to even. */
function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  const upper = bits[0]! >>> 16;
  const rest = bits[0]! & 0xffff;
  bits[0] = (upper + (rest > 0x8000 || (rest === 0x8000 && upper % 2 === 1) ? 1 : 0)) << 16;
  return new Float32Array(bits.buffer)[0]!;
}

describe.each([
  ['tied', true],
  ['untied', false],
])('saved and loaded, %s', (_, tieWordEmbeddings) => {
  let folder: string;
  const policy = tinyPolicy('saved', { tieWordEmbeddings });
  const width = policy.config.hiddenSize;
  const row = policy.embedId * width;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'policy-'));
    // As training leaves the new row: no longer the mean of the others.
    const random = randomStream(1, 'row');
    for (const name of tieWordEmbeddings ? [EMBEDDING] : [EMBEDDING, HEAD]) {
      data(policy, name).set(
        Array.from({ length: width }, () => random.normal()),
        row,
      );
    }
    await saveCheckpoint(join(folder, 'f32'), policy, { dtype: 'f32' });
    await saveCheckpoint(join(folder, 'bf16'), policy, { dtype: 'bf16' });
  });
  afterAll(() => rm(folder, { recursive: true }));

  const embed = async (from: Policy): Promise<Float32Array> => {
    await using model = Model.of(from);
    const encoder = await model.encoder();
    const texts = ['who', 'food in bern', 'old tower of the new river', 'trade'];
    return await encoder.encode(
      await Promise.all(
        texts.map(async (text) => (await directPrompt(from.tokenizer, from.prompts, text, 'query')).ids),
      ),
    );
  };

  test('f32: every bit of weights and vectors, the new row included', async () => {
    const loaded = asPolicy(await loadCheckpoint(join(folder, 'f32')));
    expect(loaded.embedId).toBe(policy.embedId);
    expect(loaded.prompts).toEqual(policy.prompts);
    expect(loaded.stopIds).toEqual(policy.stopIds);
    expect(new Set(loaded.weights.keys())).toEqual(new Set(policy.weights.keys()));
    for (const name of policy.weights.keys()) expect(data(loaded, name)).toEqual(data(policy, name));
    expect(await embed(loaded)).toEqual(await embed(policy));
  });

  test('bf16: the vectors of the rounded weights, near those of the exact ones', async () => {
    const loaded = asPolicy(await loadCheckpoint(join(folder, 'bf16')));
    const rounded = frozenCopy(policy);
    for (const { data: values } of rounded.weights.values()) values.set(values.map(bfloat16));
    const found = await embed(loaded);
    expect(found).toEqual(await embed(rounded));
    // Eight bits of precision through two layers.
    const error = relativeError(found, await embed(policy));
    expect(error).toBeLessThan(0.03);
    expect(error).toBeGreaterThan(1e-4);
    expect(data(loaded, EMBEDDING).slice(row, row + width)).toEqual(
      data(policy, EMBEDDING)
        .slice(row, row + width)
        .map(bfloat16),
    );
  });

  test('the vectors depend on the new row: left as it was before training, they are others', async () => {
    const untrained = frozenCopy(policy);
    data(untrained, EMBEDDING).set(
      data(tinyPolicy('saved', { tieWordEmbeddings }), EMBEDDING).slice(row),
      row,
    );
    expect(relativeError(await embed(untrained), await embed(policy))).toBeGreaterThan(0.1);
  });
});
