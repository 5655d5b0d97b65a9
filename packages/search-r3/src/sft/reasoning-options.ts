/** Options of the reasoning that stage 1 teaches: where its targets come from, and what the contrastive terms see. */
import { z } from 'zod';

/** Where reasoning targets come from; `targets/sources.ts` has one entry for each but `self`. */
export const TARGET_SOURCES = ['self', 'grounded', 'teacher', 'file'] as const;
export type TargetSourceName = (typeof TARGET_SOURCES)[number];

/** What the source `grounded` writes; see `targets/grounded.ts`. */
export const GROUNDED_STYLES = ['terms', 'sentence', 'definitions'] as const;
export type GroundedStyle = (typeof GROUNDED_STYLES)[number];

const positive = z.number().positive();

const teacherSchema = z.strictObject({
  url: z.url().meta({
    description: "Address of a server with OpenAI's interface, up to `/v1`.",
    when: 'Required for the source `teacher`.',
  }),
  model: z.string().min(1).meta({
    description: 'Name of the model on the server.',
    when: 'Required for the source `teacher`.',
  }),
  apiKeyVariable: z.string().min(1).optional().meta({
    description: 'Environment variable that holds the key of the server.',
    when: 'Set it if the server wants a key.',
    ifUnset: 'no key is sent',
  }),
  prompt: z
    .string()
    .min(1)
    .default(
      'In two short sentences, say which documents would answer this query, and in which words: {query}',
    )
    .meta({
      description: 'What the teacher is asked; `{query}` and `{document}` stand for the texts.',
      when: 'Set it to what your queries are about. With `{document}` the teacher sees the answer.',
    }),
  concurrency: z.int().positive().default(4).meta({
    description: 'Requests at the same time.',
    when: 'Raise it if the server allows more.',
  }),
});

export type TeacherOptions = z.output<typeof teacherSchema>;

export const reasoningSchema = z
  .strictObject({
    enabled: z.boolean().default(true).meta({
      description: 'Also train on reasoning, by default what the base model itself writes.',
      when: '`false` only for a model that should embed directly: without reasoning targets it forgets how to reason.',
    }),
    source: z.enum(TARGET_SOURCES).default('self').meta({
      description:
        'Where reasoning targets come from: `self` (the base model), `grounded` (made from the relevant document), `teacher` (a larger model on a server), or `file`. All but `self` are kept as text in `targets.jsonl` in the run folder.',
      when: '`grounded` if what the base writes does not help to find documents.',
    }),
    file: z.string().min(1).optional().meta({
      description:
        'Reasoning targets as JSONL (`{"query": id, "reasoning": text}`): what `search-r3 targets` writes, and what the source `file` reads.',
      when: 'Set it to look through the targets, or to bring your own.',
      ifUnset: 'none',
    }),
    /** Default: none. */
    teacher: teacherSchema.optional(),
    styles: z.array(z.enum(GROUNDED_STYLES)).nonempty().default(['terms', 'sentence', 'definitions']).meta({
      description:
        'What the source `grounded` writes, drawn at random for each query: salient terms of the relevant document, its sentence nearest to the query, or sentences of the corpus that define words of the query.',
      when: '`[terms]` if documents are not sentences.',
    }),
    filter: z.boolean().default(false).meta({
      description:
        'Drop targets that do not help the untrained base model (prompts `topics`) to rank the relevant document; what a target copies from it does not count. A query whose target is dropped is learnt directly alone.',
      when: 'Switch on with `teacher` or `file`. Targets of the style `sentence` are copies, and all dropped. With `self`, only `search-r3 targets` filters.',
    }),
    contrastiveWeight: z.number().nonnegative().default(1).meta({
      description:
        'Weight of the contrastive terms on the embedding after reasoning, relative to those on the direct one.',
      when: 'Lower if `direct` matters more to you than `reasoned`.',
    }),
    maxNewTokens: z.int().min(2).default(44).meta({
      description: 'Length limit of a reasoning target in tokens, including the embed token.',
      when: "Set it to the length of your base model's reasoning, up to 256 for a real model. At most `rl.maxNewTokens`.",
    }),
    temperature: positive.default(1).meta({
      description: 'Sampling temperature of the targets.',
      when: 'Rarely.',
    }),
    ownShare: z.number().min(0).max(1).default(0).meta({
      description:
        "Share of the contrastive terms after reasoning that see the model's own reasoning in place of the target. Cross-entropy stays on the targets.",
      when: 'Raise it with targets that give the document away (`grounded`, `teacher`): what the model writes itself is a guess.',
    }),
    ownEvery: z.int().positive().default(20).meta({
      description: 'Steps after which the own reasoning of `ownShare` is sampled anew.',
      when: 'Lower if the model changes quickly; sampling takes time.',
    }),
  })
  .refine(({ source, file }) => source !== 'file' || file !== undefined, {
    path: ['file'],
    message: 'expected the file of the targets with the source file',
  })
  .refine(({ source, teacher }) => source !== 'teacher' || teacher !== undefined, {
    path: ['teacher'],
    message: 'expected a server with the source teacher',
  })
  .prefault({});
