export {
  type Checkpoint,
  loadCheckpoint,
  MODEL_FOLDER,
  type SaveCheckpointOptions,
  saveCheckpoint,
  stopIds,
} from './checkpoint.js';
export {
  type Architecture,
  loadConfig,
  type ModelConfig,
  type NewConfigOptions,
  newConfig,
  parseConfig,
  type RopeScaling,
} from './config.js';
export { addEmbedToken } from './embed-token.js';
export { checkpointFingerprint } from './fingerprint.js';
export { assertFinite } from './finite.js';
export { toBFloat16, toFloat16 } from './float16.js';
export { type GgufModel, openGguf } from './gguf/model.js';
export type { GgufTensors, StoredBlocks } from './gguf/tensors.js';
export type { GgmlType } from './gguf/types.js';
export { instructionNotes } from './instructions.js';
export { type GenerationConfig, loadWeights, type ModelFolder, openModel } from './model-folder.js';
export {
  EMBEDDING_NAME,
  elementCount,
  HEAD_NAME,
  initialiseWeights,
  parameterShapes,
  type Weights,
  type WeightTensor,
} from './parameters.js';
export { PromptCache } from './prompt-cache.js';
export {
  directPrompt,
  directPrompts,
  embedTokenId,
  type NameOfText,
  type PromptIds,
  type PromptOptions,
  type Role,
  reasoningPrompt,
  reasoningPrompts,
} from './prompt-ids.js';
export {
  DEFAULT_LIMITS,
  EMBED_TOKEN,
  type LengthLimits,
  loadPrompts,
  type PromptOverrides,
  type Prompts,
  promptsFingerprint,
  promptsSchema,
  type QuerySplit,
  type RetrieverFile,
  resolvePrompts,
  savePrompts,
  type TrainedWith,
} from './prompts.js';
export { openSafetensors, type TensorSource } from './safetensors.js';
export type { TensorEntry } from './safetensors-header.js';
export {
  type StorageDtype,
  type WriteWeightsOptions,
  writeSafetensors,
  writeWeights,
} from './safetensors-writer.js';
export { openWeights } from './weight-files.js';
