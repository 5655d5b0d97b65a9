/**
 * @huggingface/tokenizers with types: the declarations of version 0.2.0 import without file extensions, which Node's
 * module resolution does not follow, so everything in them is `any`.
 */
import { Tokenizer } from '@huggingface/tokenizers';

/** What is used of the library's tokenizer. */
export interface Implementation {
  encode(
    text: string,
    options: { add_special_tokens: boolean },
  ): { ids: (number | undefined)[]; tokens: string[] };
  decode(
    ids: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  /** The words before the model's own splitting, where the model is word-level. */
  tokenize(text: string): string[];
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  /** Indexed by id, with holes where no token has it. */
  model: { vocab: (string | undefined)[] };
}

/** Builds a tokenizer from the contents of `tokenizer.json` and `tokenizer_config.json`; throws plain errors. */
export function implementTokenizer(tokenizer: object, config: object): Implementation {
  return new Tokenizer(tokenizer, config) as Implementation;
}
