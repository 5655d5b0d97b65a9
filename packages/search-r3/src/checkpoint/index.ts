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
  withVocabSize,
} from './config.js';
export { addEmbedToken } from './embed-token.js';
export {
  checkpointFingerprint,
  compareFingerprints,
  FINGERPRINT_PARTS,
  type Fingerprint,
  type FingerprintOptions,
  type FingerprintPart,
  fingerprintParts,
  type Identified,
  type Stored,
} from './fingerprint.js';
export { assertFinite, assertFiniteElements } from './finite.js';
export { toBFloat16, toFloat16 } from './float16.js';
export { type GgufModel, openGguf } from './gguf/model.js';
export type { GgufTensors, StoredBlocks } from './gguf/tensors.js';
export type { GgmlType } from './gguf/types.js';
export { instructionNotes } from './instructions.js';
export {
  type Adapter,
  embedRow,
  LINEAR_KINDS,
  type LinearKind,
  type LoraShape,
  loraA,
  loraB,
  loraScale,
} from './lora.js';
export {
  type EmbeddingUse,
  type GenerationConfig,
  loadWeights,
  type ModelFolder,
  type OpenModelOptions,
  openModel,
  storedFiles,
} from './model-folder.js';
export {
  EMBEDDING_NAME,
  elementCount,
  HEAD_NAME,
  initialiseWeights,
  parameterCount,
  parameterShapes,
  type Weights,
  type WeightTensor,
} from './parameters.js';
export {
  type AdapterContext,
  type AdapterFolder,
  isAdapterFolder,
  readAdapter,
  readAdapterFolder,
  refuseMisfit,
  writeAdapterFolder,
} from './peft/files.js';
export { mergeAdapter } from './peft/merge.js';
export { loadMerged } from './peft/merged.js';
export {
  isPreset,
  PRESETS,
  type Preset,
  type PresetName,
  presetFormat,
  requireReasoning,
} from './presets.js';
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
  type ChatPrompt,
  EMBED_TOKEN,
  isTrainable,
  type Pooling,
  type PromptOverrides,
  type Prompts,
  poolingOf,
  promptsSchema,
  resolvePrompts,
  type TextPrompt,
  type TrainingPrompts,
} from './prompts.js';
export {
  DEFAULT_LIMITS,
  type EmbeddingFormat,
  type EmbeddingFormatInput,
  type LengthLimits,
  loadRetrieverFile,
  PROMPTS_FILE,
  type QuerySplit,
  type RetrieverFile,
  saveRetrieverFile,
  type TrainedWith,
} from './retriever-file.js';
export { openSafetensors, type TensorLocation, type TensorSource } from './safetensors.js';
export type { TensorEntry } from './safetensors-header.js';
export {
  type StorageDtype,
  type WriteWeightsOptions,
  writeSafetensors,
  writeWeights,
} from './safetensors-writer.js';
export { openWeights, type StoredFile } from './weight-files.js';
