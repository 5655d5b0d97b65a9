/** The dense model that judges targets: the base before training, with prompts that suit any base. */
import { PRESETS, PromptCache, type Role } from '../checkpoint/index.js';
import { embeddingOf } from '../decoder/index.js';
import type { Model } from '../model/index.js';

/** Embeds texts. */
export interface DenseModel {
  /** Vectors of unit length, one per text. @throws InterruptedError when aborted. */
  embed(texts: readonly string[], role: Role, signal?: AbortSignal): Promise<Float32Array[]>;
}

/**
 * A model as it is, whatever its own prompts are, with those of the preset `topics`. Its encoder stays the model's, which
 * frees it.
 * @param maxLength of a prompt, in tokens.
 */
export function denseModel(model: Pick<Model, 'tokenizer' | 'encoder'>, maxLength: number): DenseModel {
  const prompts = new PromptCache(model.tokenizer, PRESETS.topics.prompts);
  return {
    async embed(texts, role, signal) {
      const built = await prompts.direct(texts, role, { maxTokens: maxLength });
      const encoder = await model.encoder();
      const ids = built.map((prompt) => prompt.ids);
      const matrix = await encoder.encode(ids, signal === undefined ? {} : { signal });
      const width = encoder.dimension;
      return texts.map((_, i) => embeddingOf(matrix.subarray(i * width, (i + 1) * width)));
    },
  };
}
