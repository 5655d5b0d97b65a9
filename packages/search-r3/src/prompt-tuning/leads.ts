/**
 * Places at which a base model may be read, as prompts for training. A base sums up a text where its next words would be
 * the summary, and nowhere else: a new token after "The embedding is" is a place that it has never seen.
 */
import type { PromptOverrides, Prompts } from '../checkpoint/index.js';
import type { Tokenizer } from '../tokenizer/index.js';

/** What a model is asked for, and how its answer begins. */
interface Lead {
  system: string;
  /** Its last token is where the embedding is read. */
  assistant: string;
}

const TOPICS = 'The main topics of this text, as keywords:';

const LEADS: Readonly<Record<string, Lead>> = {
  topics: { system: '', assistant: TOPICS },
  'topics, asked for': { system: 'Name the main topics of the text of the user.', assistant: TOPICS },
  keywords: { system: 'Give the keywords of the text of the user.', assistant: 'Keywords:' },
  'one word': { system: '', assistant: 'This text means in one word: "' },
  about: { system: '', assistant: 'This text is about' },
};

/** Prompts to try. */
export interface PromptCandidate {
  /** For people. */
  name: string;
  /** For training: what differs from the defaults. */
  overrides: PromptOverrides;
  /** How the base itself reads texts as it will with them; undefined where the embed token starts as no other does. */
  untrained: Prompts | undefined;
}

/** The default prompts, and each lead with an embed token that starts as the last token of it. */
export async function promptCandidates(tokenizer: Tokenizer): Promise<PromptCandidate[]> {
  const found: PromptCandidate[] = [{ name: 'the default prompts', overrides: {}, untrained: undefined }];
  for (const [name, { system, assistant }] of Object.entries(LEADS)) {
    const cut = await withoutLastToken(tokenizer, assistant);
    if (cut === undefined) continue;
    const direct = { system, assistant: cut.text };
    const whole = { system, assistant };
    found.push({
      name,
      overrides: { embedTokenInit: cut.token, query: direct, document: direct },
      untrained: { query: whole, document: whole },
    });
  }
  return found;
}

/** A text without its last token, and that token; undefined where the rest alone becomes other tokens. */
async function withoutLastToken(
  tokenizer: Tokenizer,
  text: string,
): Promise<{ text: string; token: string } | undefined> {
  const ids = await tokenizer.encode(text);
  const rest = ids.slice(0, -1);
  const token = tokenizer.tokenOf(ids.at(-1) ?? -1);
  const before = tokenizer.decode(rest);
  const again = await tokenizer.encode(before);
  return token === undefined || before === '' || again.join() !== rest.join()
    ? undefined
    : { text: before, token };
}
