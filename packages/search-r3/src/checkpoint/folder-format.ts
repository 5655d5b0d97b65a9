/**
 * How a folder's model embeds: as the caller asks, else as `search_r3.json` says, else as the folder's other files show,
 * else with the preset `topics`. All of this is read before any weights.
 */
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { exists, readIfThere, readJson, readText } from '../run/files.js';
import { validate } from '../run/validate.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { isPreset, PRESETS, presetFormat } from './presets.js';
import { EMBED_TOKEN } from './prompts.js';
import {
  type EmbeddingFormat,
  type EmbeddingFormatInput,
  PROMPTS_FILE,
  parseFormat,
} from './retriever-file.js';

/** A way to embed, and one sentence that says why it was chosen; none for what `search_r3.json` records. */
export interface ChosenFormat {
  format: EmbeddingFormat;
  note?: string;
}

/**
 * @param recorded what `search_r3.json` records.
 * @param asked the name of a preset, the path of a JSON or YAML file, or the fields of such a file.
 * @throws InputError if there is no such preset or file, or if the folder's model embeds in a way that is not supported.
 */
export async function chooseFormat(
  folder: string,
  tokenizer: Tokenizer,
  recorded: EmbeddingFormat | undefined,
  asked: string | EmbeddingFormatInput | undefined,
): Promise<ChosenFormat> {
  if (asked !== undefined) {
    const name = typeof asked === 'string' ? asked : 'those given';
    const format = await askedFormat(asked);
    return { format, note: `Prompts: ${name}, as asked${recorded ? `, not those of ${PROMPTS_FILE}` : ''}.` };
  }
  if (recorded !== undefined) return { format: recorded };
  if (tokenizer.idOf(EMBED_TOKEN) !== undefined) {
    const format = presetFormat('search-r3');
    return { format, note: `Prompts: the preset search-r3, because the tokenizer has ${EMBED_TOKEN}.` };
  }
  const shown = await sentenceTransformersFormat(folder);
  if (shown !== undefined) return shown;
  return {
    format: presetFormat('topics'),
    note: `Prompts: the preset topics, because no file of the folder says how the model embeds.`,
  };
}

async function askedFormat(asked: string | EmbeddingFormatInput): Promise<EmbeddingFormat> {
  if (typeof asked !== 'string') return parseFormat(asked, 'prompts');
  if (isPreset(asked)) return presetFormat(asked);
  if (await exists(asked)) return parseFormat(parsed(await readText(asked), asked), asked);
  throw new InputError({
    source: 'prompts',
    expected: `the preset ${Object.keys(PRESETS).join(', ')} or a file with prompts`,
    found: JSON.stringify(asked),
  });
}

/** JSON is YAML too. */
function parsed(text: string, source: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    const found = error instanceof Error ? (error.message.split('\n')[0] as string) : String(error);
    throw new InputError({ source, expected: 'valid JSON or YAML', found });
  }
}

const PROMPTS = 'config_sentence_transformers.json';
const POOLING = '1_Pooling/config.json';
const MODULES = 'modules.json';

const modulesSchema = z.array(z.looseObject({ type: z.string(), path: z.string() }));
const poolingSchema = z.looseObject({
  pooling_mode: z.union([z.string(), z.array(z.string())]).optional(),
});
const promptsSchema = z.looseObject({ prompts: z.record(z.string(), z.string()).default({}) });

/** Modules that change nothing here: vectors are scaled to length 1 anyway. */
const SUPPORTED_MODULES = ['Transformer', 'Pooling', 'Normalize'];

/**
 * What a folder of sentence-transformers says; undefined if it is none.
 * @throws InputError if the vectors are pooled or changed in a way that is not supported.
 */
async function sentenceTransformersFormat(folder: string): Promise<ChosenFormat | undefined> {
  const path = join(folder, POOLING);
  const pooling = await readIfThere(path, async () => validate(poolingSchema, await readJson(path), path));
  if (pooling === undefined) return undefined;
  refusePooling(pooling, path);
  await refuseModules(join(folder, MODULES));
  const file = join(folder, PROMPTS);
  const read = async () => validate(promptsSchema, await readJson(file), file).prompts;
  const named = (await readIfThere(file, read)) ?? {};
  // The names that `encode_query` and `encode_document` of sentence-transformers look for.
  const query = named.query ?? '';
  const document = named.document ?? named.passage ?? named.corpus ?? '';
  // The preset ends with a token that the tokenizers of early copies of the model do not add.
  if (document === '' && PRESETS['qwen3-embedding'].prompts.query.text.startsWith(`${query}{text}`)) {
    return {
      format: presetFormat('qwen3-embedding'),
      note: `Prompts: the preset qwen3-embedding, as ${PROMPTS} and ${POOLING} show.`,
    };
  }
  const around = (prompt: string) => ({ text: `${prompt}{text}`, specialTokens: true });
  return {
    format: { prompts: { query: around(query), document: around(document) } },
    note: `Prompts: those of ${PROMPTS}, read at the last token, as ${POOLING} says.`,
  };
}

function refusePooling(pooling: z.output<typeof poolingSchema>, source: string): void {
  const { pooling_mode: mode } = pooling;
  const modes =
    mode === undefined
      ? Object.entries(pooling).flatMap(([key, on]) => (on === true ? (MODES[key] ?? []) : []))
      : [mode].flat();
  if (modes.length === 1 && modes[0] === 'lasttoken') return;
  throw new InputError({
    source,
    field: mode === undefined ? 'pooling_mode_*' : 'pooling_mode',
    expected: 'lasttoken',
    found: modes.join(', ') || 'none',
    remedy:
      'Embeddings are read at one token: such a model is not supported. To read it differently from how it was ' +
      'trained, name the prompts (--prompts topics).',
  });
}

/** The names of earlier files, with those of `pooling_mode`. */
const MODES: Readonly<Record<string, string>> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_sqrt_len_tokens: 'mean_sqrt_len_tokens',
  pooling_mode_weightedmean_tokens: 'weightedmean',
  pooling_mode_lasttoken: 'lasttoken',
};

async function refuseModules(path: string): Promise<void> {
  const modules = await readIfThere(path, async () => validate(modulesSchema, await readJson(path), path));
  const names = (modules ?? []).map(({ type }) => type.split('.').at(-1) as string);
  const other = names.find((name) => !SUPPORTED_MODULES.includes(name));
  if (other === undefined) return;
  throw new InputError({
    source: path,
    expected: `only the modules ${SUPPORTED_MODULES.join(', ')}`,
    found: other,
    remedy: 'Vectors would differ from those the model was trained to give.',
  });
}
