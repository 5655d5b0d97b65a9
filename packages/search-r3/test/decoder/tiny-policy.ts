/** A whole checkpoint of a few thousand parameters, with a tokenizer of some words, that speaks and embeds at random. */
import { type Checkpoint, type NewConfigOptions, newConfig } from 'search-r3/checkpoint';
import { makePolicy, type Policy } from 'search-r3/model';
import { ATLAS_PROMPTS, ATLAS_TEMPLATE } from 'search-r3/pretrain';
import { randomStream } from 'search-r3/run';
import { type Tokenizer, trainWordLevel } from 'search-r3/tokenizer';
import { type DecoderConfig, randomWeights } from '../reference/decoder.js';

export const WORDS = 'ada bern cork food dance trade river tower old new who where in of'.split(' ');
const SPECIAL = ['<|endoftext|>', '<|system|>', '<|user|>', '<|assistant|>'];

export function tinyTokenizer(): Tokenizer {
  return trainWordLevel([WORDS.join(' '), 'represent reason the embedding is'], {
    vocabSize: 100,
    specialTokens: SPECIAL,
    eosToken: '<|endoftext|>',
    padToken: '<|endoftext|>',
    chatTemplate: ATLAS_TEMPLATE,
  });
}

/** A base model without embed token or prompts; other `label`s give other weights. */
export function tinyBase(label = 'weights', shape: Partial<NewConfigOptions> = {}): Checkpoint {
  const tokenizer = tinyTokenizer();
  const config = newConfig({
    architecture: 'qwen2',
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 16,
    intermediateSize: 20,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    maxPositions: 64,
    tieWordEmbeddings: false,
    ...shape,
  });
  const random = randomStream(31, 'tiny base', label);
  const drawn = randomWeights(config satisfies DecoderConfig, () => random.normal());
  const weights = new Map(
    Array.from(drawn, ([name, { data, shape: axes }]) => [
      name,
      { data: Float32Array.from(data), shape: [...axes] },
    ]),
  );
  return { config, weights, tokenizer };
}

/** The base with the embed token and short prompts. */
export const tinyPolicy = (label?: string, shape?: Partial<NewConfigOptions>): Policy =>
  makePolicy(tinyBase(label, shape), ATLAS_PROMPTS);
