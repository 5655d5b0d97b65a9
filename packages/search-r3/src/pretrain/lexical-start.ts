/**
 * Initial weights that match words. Before any training, the embedding of a text is a random projection of its words,
 * weighted by their rarity. It keeps the cosines of tf-idf vectors, up to noise that falls with the width (Johnson and
 * Lindenstrauss 1984; Bingham and Mannila 2001, KDD). A small model that reads little text would not learn to match
 * words in time; training then adds meaning.
 *
 * Rows of the embedding are random or come from `latent.ts`; the latter give the cosines of latent semantic analysis.
 * One channel of the rows holds ln idf. In the last layer, every head attends by that channel (through its query bias)
 * and copies what it attends to, so a token's weight is its idf. Everything else adds nothing at first: output
 * projections start at zero, as in Fixup (Zhang et al. 2019, arXiv 1901.09321).
 */
import type { Checkpoint, ModelConfig, TrainingPrompts, WeightTensor } from '../checkpoint/index.js';
import { assertTexts, type Document, documentText } from '../dataset/index.js';
import { InterruptedError, type LongWorkOptions } from '../run/index.js';
import type { Tokenizer } from '../tokenizer/index.js';

/** Documents encoded together. */
const PIECE = 512;
/** The channel of the embedding that holds ln idf. */
const CHANNEL = 0;
/** ln idf of a token in every document or in none: it gets hardly any attention. */
const LOWEST = -4;
/** Factor on the usual standard deviation of rows: training changes large rows more slowly, relative to their size. */
const WIDTH = 5;
/** The channel's value per unit of ln idf, in standard deviations of the other channels. */
const SCALE = 0.5;

/**
 * ln idf by token id, idf = ln((N + 1) / df) over the documents, df at least 1.
 * @param everywhere tokens of the prompts, which say nothing about a text.
 */
export function logIdf(
  documents: readonly (readonly number[])[],
  everywhere: Iterable<number>,
  vocabSize: number,
): Float64Array {
  const frequencies = new Float64Array(vocabSize);
  for (const ids of documents)
    for (const id of new Set(ids)) frequencies[id] = (frequencies[id] as number) + 1;
  for (const id of everywhere) frequencies[id] = documents.length + 1;
  return frequencies.map((count) =>
    count === 0 ? LOWEST : Math.max(LOWEST, Math.log(Math.log((documents.length + 1) / count))),
  );
}

/** The input of a lexical start. */
export interface CollectionWords {
  /** ln idf by token id; tokens of the prompts count as if they were in every document. */
  logIdf: Float64Array;
  /** Token ids of each document. */
  documents: number[][];
}

/**
 * Counts the words of a collection.
 * @param work reports the part `tokens`.
 * @throws InputError if no document has a text; InterruptedError when aborted.
 */
export async function collectionWords(
  corpus: readonly Document[],
  tokenizer: Tokenizer,
  prompts: TrainingPrompts,
  work: LongWorkOptions = {},
): Promise<CollectionWords> {
  assertTexts(corpus, 'corpus');
  const { query, document, reasoning } = prompts;
  const around = await tokenizer.encodeBatch(
    [query, document, { ...reasoning, assistant: '' }].map(({ system, assistant }) =>
      tokenizer.renderChat([
        { role: 'system', content: system },
        { role: 'user', content: '' },
        { role: 'assistant', content: assistant },
      ]),
    ),
  );
  const documents: number[][] = [];
  const { signal, onProgress } = work;
  const [part, total] = ['tokens', corpus.length];
  for (let at = 0; at < corpus.length; at += PIECE) {
    if (signal?.aborted) throw new InterruptedError(`${part}: stopped by the caller`);
    const texts = corpus
      .slice(at, at + PIECE)
      .map((entry) => tokenizer.escapeSpecialTokens(documentText(entry)));
    documents.push(...(await tokenizer.encodeBatch(texts)));
    onProgress?.({ part, done: documents.length, total });
  }
  return { logIdf: logIdf(documents, around.flat(), tokenizer.vocabSize), documents };
}

/**
 * Changes freshly initialised weights in place. The architecture must have query biases, as Qwen2 does.
 * @param idf ln idf by token id.
 * @param embedId the embed token; its row becomes zero, so that it adds nothing to what it attends to.
 * @param directions a direction of length 1 per token, [vocabulary, hidden - 1]. Default: random ones.
 */
export function startLexically(
  { config, weights }: Pick<Checkpoint, 'config' | 'weights'>,
  idf: Float64Array,
  embedId: number,
  directions?: Float64Array,
): void {
  const { hiddenSize, headDim, heads, initializerRange } = config;
  const tensor = (name: string): WeightTensor => {
    const found = weights.get(name);
    if (found === undefined) throw new Error(`internal: a lexical start needs ${name}`);
    return found;
  };
  const rows = tensor('model.embed_tokens.weight').data;
  for (let i = 0; i < rows.length; i++) rows[i] = WIDTH * (rows[i] as number);
  if (directions !== undefined) {
    // The length of the random rows.
    const length = WIDTH * initializerRange * Math.sqrt(hiddenSize - 1);
    const width = hiddenSize - 1;
    for (const id of idf.keys()) {
      const own = directions.subarray(id * width, (id + 1) * width);
      for (const [i, x] of own.entries()) rows[id * hiddenSize + 1 + i] = length * x;
    }
  }
  for (const [id, value] of idf.entries()) {
    rows[id * hiddenSize + CHANNEL] = WIDTH * initializerRange * SCALE * value;
  }
  rows.fill(0, embedId * hiddenSize, (embedId + 1) * hiddenSize);
  // If the large rows are also the head, every token would almost surely be followed by itself.
  if (config.tieWordEmbeddings) tensor('model.norm.weight').data.fill(1 / WIDTH);

  for (let layer = 0; layer < config.layers; layer++) {
    for (const name of ['self_attn.o_proj', 'mlp.down_proj']) {
      tensor(`model.layers.${layer}.${name}.weight`).data.fill(0);
    }
  }
  const attention = (name: string) => tensor(`model.layers.${config.layers - 1}.self_attn.${name}`).data;
  const group = heads / config.kvHeads;
  // For both query and key, so that their product over the root of the width is ln idf.
  const size = Math.sqrt(Math.sqrt(headDim) / SCALE);
  const [bias, keys] = [attention('q_proj.bias'), attention('k_proj.weight')];
  const [values, output] = [attention('v_proj.weight'), attention('o_proj.weight')];
  for (let head = 0; head < heads; head++) bias[slowest(config, head)] = size;
  for (let head = 0; head < config.kvHeads; head++) {
    keys[slowest(config, head) * hiddenSize + CHANNEL] = size;
    for (let i = head * headDim; i < (head + 1) * headDim; i++) {
      if (i !== CHANNEL) values[i * hiddenSize + i] = (values[i * hiddenSize + i] as number) + 1;
    }
  }
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headDim; i++) {
      // Each query head that shares a key head returns its part of the values.
      const target = Math.floor(head / group) * headDim + i;
      output[target * heads * headDim + head * headDim + i] = 1 / group;
    }
  }
}

/** The dimension of a head that the rotary embedding turns least, where position hardly matters. */
const slowest = ({ headDim }: ModelConfig, head: number): number => (head + 1) * headDim - 1;
