/**
 * Weights to start from that match words: before any training the embedding of a text is a random projection of its
 * words, weighted by how rare they are, and so keeps the cosines of tf-idf vectors up to noise that falls with the
 * width (Johnson and Lindenstrauss 1984; Bingham and Mannila 2001, KDD). A small model that reads little has no time to
 * find that out; what training adds is meaning.
 *
 * Rows of the embedding are random anyway; where they point by what their words occur with instead (`latent.ts`), the
 * cosines are those of latent semantic analysis. One of their channels is given to ln idf. In the last layer every head
 * asks for that channel (by its bias) and copies what it attends to, so that a token's weight is its idf. All else adds
 * nothing at first: output projections start at zero, as in Fixup (Zhang et al. 2019, arXiv 1901.09321).
 */
import type { Checkpoint, ModelConfig, Prompts, WeightTensor } from '../checkpoint/index.js';
import { assertTexts, type Document, documentText } from '../dataset/index.js';
import { InterruptedError, type LongWorkOptions } from '../run/index.js';
import type { Tokenizer } from '../tokenizer/index.js';

/** Documents encoded together. */
const PIECE = 512;
/** The channel of the embedding that holds ln idf. */
const CHANNEL = 0;
/** ln idf of what is in every document, and of what is in none: as good as unattended. */
const LOWEST = -4;
/** Standard deviation of rows, over the usual: training moves wide ones more slowly, relative to what they hold. */
const WIDTH = 5;
/** Of the channel, in standard deviations of the others, per unit of ln idf. */
const SCALE = 0.5;

/**
 * ln idf by token id, idf = ln((N + 1) / df) over the documents, df at least 1.
 * @param everywhere tokens of the prompts: they say nothing about a text.
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

/** What a lexical start takes from a collection. */
export interface CollectionWords {
  /** ln idf by token id; the words of the prompts count as everywhere. */
  logIdf: Float64Array;
  /** Token ids by document. */
  documents: number[][];
}

/**
 * Counts the words of a collection.
 * @param work told of the part `tokens`.
 * @throws InputError where no document has a text; InterruptedError when aborted.
 */
export async function collectionWords(
  corpus: readonly Document[],
  tokenizer: Tokenizer,
  prompts: Prompts,
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
 * Changes freshly initialised weights, in place. Needs biases of queries, as Qwen2 has them.
 * @param idf ln idf by token id.
 * @param embedId the token that embeds: its own row is zero, so that it adds nothing to what it attends to.
 * @param directions a direction of length 1 per token, [vocabulary, hidden - 1], in place of the random ones.
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
    // As long as the random ones.
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
  // Where wide rows are the head too, every token would be all but sure to be followed by itself.
  if (config.tieWordEmbeddings) tensor('model.norm.weight').data.fill(1 / WIDTH);

  for (let layer = 0; layer < config.layers; layer++) {
    for (const name of ['self_attn.o_proj', 'mlp.down_proj']) {
      tensor(`model.layers.${layer}.${name}.weight`).data.fill(0);
    }
  }
  const attention = (name: string) => tensor(`model.layers.${config.layers - 1}.self_attn.${name}`).data;
  const group = heads / config.kvHeads;
  // Of query and key alike, so that the product of both, over the root of the width, is ln idf again.
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
      // What a key head holds comes back from each head that shares it.
      const target = Math.floor(head / group) * headDim + i;
      output[target * heads * headDim + head * headDim + i] = 1 / group;
    }
  }
}

/** The dimension of a head that the rotary embedding turns least: position hardly matters there. */
const slowest = ({ headDim }: ModelConfig, head: number): number => (head + 1) * headDim - 1;
