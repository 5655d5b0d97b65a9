/** Models of a real one's shape with random weights, for what depends on the shape alone: memory and loading. */
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { elementCount, type ModelConfig, newConfig, parameterShapes } from 'search-r3/checkpoint';
import { exists } from 'search-r3/run';
import { CHATML_TEMPLATE } from 'search-r3/tokenizer';
import type { Log } from './benchmark.js';
import { REAL_CACHE } from './paths.js';

const VOCABULARY = 151_936;
const qwen = (hiddenSize: number, intermediateSize: number, layers: number, heads: number) => ({
  architecture: 'qwen2' as const,
  ...{ vocabSize: VOCABULARY, hiddenSize, intermediateSize, layers, heads },
  ...{ kvHeads: 2, maxPositions: 32_768, ropeTheta: 1e6 },
});

/** Shapes of Qwen2.5 (tied embeddings), and one for quick runs. */
const SHAPES = {
  '1.5B': qwen(1536, 8960, 28, 12),
  '0.5B': qwen(896, 4864, 24, 14),
  tiny: qwen(128, 256, 2, 4),
};
export type RandomShape = keyof typeof SHAPES;

/** A folder with bfloat16 weights and a vocabulary of Qwen2.5's size. Written once. */
export async function randomModel(shape: RandomShape, log: Log): Promise<string> {
  const folder = join(REAL_CACHE, `random-${shape}`);
  if (await exists(folder)) return folder;
  log(`writing random weights of the shape ${shape}, once`);
  const unfinished = `${folder}.new`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  const config = newConfig(SHAPES[shape]);
  await writeFile(
    join(unfinished, 'config.json'),
    JSON.stringify({ ...config.raw, torch_dtype: 'bfloat16' }),
  );
  await writeTokenizer(unfinished);
  await writeRandomWeights(join(unfinished, 'model.safetensors'), config);
  await rename(unfinished, folder);
  return folder;
}

/** Byte-level BPE with as many tokens and merges as Qwen2.5's: a tokenizer of that size takes memory too. */
async function writeTokenizer(folder: string): Promise<void> {
  const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
  const first = 151_643;
  // GPT-2's characters of the bytes; which is which does not matter here.
  const tokens = Array.from({ length: 256 }, (_, i) =>
    String.fromCodePoint(i < 94 ? 0x21 + i : 0x100 + i - 94),
  );
  const known = new Set(tokens);
  const merges: string[] = [];
  // Pairs of all tokens so far with a byte: first all of two bytes, then of three.
  for (let left = 0; tokens.length < first; left++) {
    for (let right = 0; right < 256 && tokens.length < first; right++) {
      const token = tokens[left] + tokens[right];
      if (known.has(token)) continue;
      known.add(token);
      tokens.push(token);
      merges.push(`${tokens[left]} ${tokens[right]}`);
    }
  }
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: '1.0',
    added_tokens: special.map((content, i) => ({
      ...{ id: first + i, content, special: true, single_word: false },
      ...{ lstrip: false, rstrip: false, normalized: false },
    })),
    ...{ normalizer: null, pre_tokenizer: byteLevel, post_processor: null, decoder: byteLevel },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: '<|im_end|>', pad_token: '<|endoftext|>', chat_template: CHATML_TEMPLATE }),
  );
}

const PIECE = 1 << 22;

/** Matrices and biases normal with deviation 0.02, norms 1, as safetensors; tensors are never whole in memory. */
async function writeRandomWeights(path: string, config: ModelConfig): Promise<void> {
  const shapes = [...parameterShapes(config)];
  let end = 0;
  const entries = shapes.map(([name, shape]) => {
    const start = end;
    end += 2 * elementCount(shape);
    return [name, { dtype: 'BF16', shape, data_offsets: [start, end] }] as const;
  });
  const json = Buffer.from(
    JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) }),
  );
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  const file = await open(path, 'w');
  try {
    await file.writeFile(header);
    const values = normals(0.02);
    const one = bfloat16(1);
    let state = 1;
    for (const [name, shape] of shapes) {
      const norm = name.endsWith('norm.weight');
      const elements = elementCount(shape);
      for (let at = 0; at < elements; at += PIECE) {
        const piece = new Uint16Array(Math.min(PIECE, elements - at));
        if (norm) piece.fill(one);
        else {
          for (let i = 0; i < piece.length; i++) {
            // Marsaglia's xorshift; its upper bits choose a value.
            state ^= state << 13;
            state ^= state >>> 17;
            state ^= state << 5;
            piece[i] = values[state >>> 20];
          }
        }
        await file.writeFile(new Uint8Array(piece.buffer));
      }
    }
  } finally {
    await file.close();
  }
}

/** The upper half of a float32. */
const bfloat16 = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] >>> 16;

/** 4,096 draws from a normal distribution (Box and Muller 1958), as bfloat16. */
function normals(deviation: number): Uint16Array {
  const count = 4096;
  return Uint16Array.from({ length: count }, (_, i) => {
    const radius = Math.sqrt(-2 * Math.log((i + 0.5) / count));
    return bfloat16(deviation * radius * Math.cos(2 * Math.PI * ((i * 0.618_033_988_75) % 1)));
  });
}
