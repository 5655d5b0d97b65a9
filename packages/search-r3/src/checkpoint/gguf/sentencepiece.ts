/** SentencePiece BPE (`tokenizer.ggml.model` llama) in the pipeline of transformers' LlamaTokenizer. */
import { classParts } from '../../tokenizer/class-pipelines.js';
import type { TokenizerModel } from './byte-level.js';
import type { Metadata } from './metadata.js';
import { isNormal, readMerges, type Vocabulary, vocabularyObject } from './vocabulary.js';

const SCORES = 'tokenizer.ggml.scores';

/** @throws InputError if the file has neither merges nor the scores that they follow from. */
export function sentencePieceModel(metadata: Metadata, vocabulary: Vocabulary): TokenizerModel {
  const prefix = metadata.boolean('tokenizer.ggml.add_space_prefix') ?? true;
  const { model, ...parts } = classParts('LlamaTokenizer', { add_prefix_space: prefix });
  const merges = readMerges(metadata, vocabulary) ?? mergesOf(vocabulary, readScores(metadata, vocabulary));
  return {
    ...parts,
    model: { ...model, vocab: vocabularyObject(vocabulary), merges },
    // llama.cpp's, where the vocabulary has that many tokens.
    ids: vocabulary.tokens.length > 2 ? { unk_token: 0, bos_token: 1, eos_token: 2 } : {},
    addBos: true,
  };
}

function readScores(metadata: Metadata, { tokens }: Vocabulary): number[] {
  const scores = metadata.required(SCORES, metadata.numbers(SCORES));
  if (scores.length >= tokens.length) return scores;
  throw metadata.error(SCORES, `a list of ${tokens.length}, one for each token`, String(scores.length));
}

interface Merge {
  pair: [string, string];
  score: number;
  /** Characters of each part. */
  lengths: [number, number];
  ids: [number, number];
}

/**
 * The merges that give the pieces of a SentencePiece model: each way to split a piece into two others, pieces of high
 * score first, as `generate_merges` of transformers 5.24 orders them.
 */
function mergesOf(vocabulary: Vocabulary, scores: readonly number[]): [string, string][] {
  const ids = new Map(
    vocabulary.tokens.flatMap((token, id): [string, number][] =>
      isNormal(vocabulary, id) ? [[token, id]] : [],
    ),
  );
  const merges: Merge[] = [];
  for (const [token, id] of ids) {
    const characters = [...token];
    const found: Merge[] = [];
    let at = 0;
    for (let count = 1; count < characters.length; count++) {
      at += (characters[count - 1] as string).length;
      const pair: [string, string] = [token.slice(0, at), token.slice(at)];
      const [left, right] = [ids.get(pair[0]), ids.get(pair[1])];
      if (left === undefined || right === undefined) continue;
      const lengths: [number, number] = [count, characters.length - count];
      found.push({ pair, score: scores[id] as number, lengths, ids: [left, right] });
    }
    merges.push(...found.sort((a, b) => a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1]));
  }
  // Sorting is stable.
  merges.sort((a, b) => b.score - a.score || b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1]);
  return merges.map(({ pair }) => pair);
}
