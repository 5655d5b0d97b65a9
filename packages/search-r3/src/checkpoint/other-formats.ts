/** Recognises weights in formats that are not read, by the names of their files. */
import type { StandIn } from '../run/stand-in.js';

const WITH_TRANSFORMERS =
  'Convert it with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER_FOLDER).';

/** Weights in unsupported formats, by file name. */
const OTHER_FORMATS: [pattern: RegExp, what: string, remedy: string][] = [
  [/\.(?:incomplete|part|partial|crdownload)$/, 'an unfinished download', 'Fetch it again.'],
  [
    /^model-\d+-of-\d+\.safetensors$/,
    'a shard without its index',
    'Fetch model.safetensors.index.json, and every shard it names.',
  ],
  [/^model\..+\.safetensors$/, 'a variant of the weights', 'Rename it to model.safetensors to use it.'],
  [/^adapter_model\./, 'a LoRA adapter', 'Merge it into its base model first (merge_and_unload in peft).'],
  [/^consolidated\./, 'weights in the layout of their authors', WITH_TRANSFORMERS],
  [/\.(?:bin|bin\.index\.json|pth?|ckpt)$/, 'a pickle, which only Python can read', WITH_TRANSFORMERS],
  [/\.(?:h5|msgpack|npz)$/, 'weights of another framework', WITH_TRANSFORMERS],
  [/\.gguf$/, 'a GGUF file', 'Give the path of that file instead of the folder.'],
  [/\.onnx$|^onnx$/, 'an ONNX model', 'Use the model it was exported from.'],
  [/\.safetensors$/, 'a file of another name', 'Rename it to model.safetensors if it is the whole model.'],
];

/** Weights that are not read, among the files of a folder. */
export function otherWeights(names: readonly string[]): StandIn | undefined {
  for (const [pattern, what, remedy] of OTHER_FORMATS) {
    const name = [...names].sort().find((one) => pattern.test(one));
    if (name !== undefined) return { found: `${name}, ${what}`, remedy };
  }
  return undefined;
}
