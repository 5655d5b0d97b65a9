/**
 * The texts of docs/guides/options.md: what every setting does and when to change it. Types and defaults come from the
 * schemas. A test checks that every setting has an entry and every entry a setting.
 */

/** What a setting does, and when to change it. */
export interface Advice {
  readonly does: string;
  readonly when: string;
}

const advice = (does: string, when: string): Advice => ({ does, when });

/** Shared by both stages. */
const tokenEmbeddings = advice(
  'Which rows of the token tables training changes: all (`trained`), or only the row of the embed token (`frozen`).',
  '`trained` for a small model from scratch that still has to learn its words. `frozen` preserves names that training does not mention, and saves memory.',
);

/** Shared by every section with an optimiser. */
const optimization = {
  learningRate: advice(
    'Peak learning rate of AdamW.',
    'Try this first. Lower it by 10 to 100 times for a base of half a billion parameters or more; raise it for a very small model.',
  ),
  schedule: advice(
    'Shape after warm-up: a straight line or a cosine down to `finalLearningRate`, or constant.',
    'Rarely. Use `constant` if you may raise `steps` when you resume.',
  ),
  warmupSteps: advice(
    'Steps in which the learning rate rises from 0; at most half of all steps.',
    'Raise if the loss jumps in the first steps; lower for a short trial.',
  ),
  finalLearningRate: advice('Learning rate at the last step, as a fraction of the peak.', 'Rarely.'),
  weightDecay: advice(
    'Decoupled weight decay of matrices; norms and biases have none.',
    'Raise if the training loss falls and the validation score does not rise.',
  ),
  betas: advice('Decay rates of the two moments of AdamW.', 'Rarely.'),
  maxGradientNorm: advice(
    'Gradients with a larger global norm are scaled down to this norm.',
    'Lower if the loss gets worse after spikes in `gradient_norm`.',
  ),
  maxTokens: advice(
    'Maximum number of tokens, including padding, in one pass through the model. A larger batch is split into pieces, with the same result.',
    'Lower if memory runs out. The result does not change.',
  ),
  checkpointActivations: advice(
    'Recomputes activations per layer in the backward pass: less memory, about a third more time.',
    'Switch on if memory runs out even with the smallest `maxTokens`.',
  ),
};

const under = (section: string, entries: Record<string, Advice>) =>
  Object.fromEntries(Object.entries(entries).map(([key, entry]) => [`${section}.${key}`, entry]));

const sft = {
  steps: advice(
    'Training steps.',
    'Too few is better than too many: stage 2 learns from what stage 1 leaves uncertain. Stop when the validation score of `direct` stops rising.',
  ),
  batchSize: advice(
    'Queries per step, each with a positive and a hard negative. The other documents of the step are negatives too. The default shrinks to the number of queries if there are fewer.',
    'Raise if you have time: more negatives make a better embedding. Memory does not grow with it; see `optimization.maxTokens`.',
  ),
  'weights.crossEntropy': advice(
    'Weight of the cross-entropy on the reasoning targets and on ending with the embed token.',
    'Raise if `embedded` is low in stage 2. At 0 the model forgets how to reason.',
  ),
  'weights.kl': advice(
    'Weight of the KL divergence from the base model on the reasoning.',
    'Raise if the model reasons worse after stage 1 than the base did.',
  ),
  'weights.infoNce': advice('Weight of InfoNCE: the positive among all documents of the step.', 'Rarely.'),
  'weights.triplet': advice(
    'Weight of the triplet margin between the positive and the hard negative.',
    'Lower if hard negatives are often relevant but unjudged.',
  ),
  temperature: advice(
    'Temperature of InfoNCE over cosines. Low temperatures focus on the hardest negatives.',
    'Raise to 0.07 or 0.1 if judgements are noisy.',
  ),
  margin: advice('Margin of the triplet term, on cosines.', 'Rarely.'),
  'reasoning.enabled': advice(
    "Also trains on the base model's own reasoning.",
    '`false` only for a model that should embed directly: without reasoning targets it forgets how to reason.',
  ),
  'reasoning.contrastiveWeight': advice(
    'Weight of the contrastive terms on the embedding after reasoning, relative to those on the direct one.',
    'Lower if `direct` matters more to you than `reasoned`.',
  ),
  'reasoning.maxNewTokens': advice(
    'Length limit of a reasoning target, in tokens.',
    "Set it to the length of your base model's reasoning, up to 256 for a real model. At most `rl.maxNewTokens`.",
  ),
  'reasoning.temperature': advice('Sampling temperature of the targets.', 'Rarely.'),
  tokenEmbeddings,
  maxQueries: advice(
    'Number of training queries used, drawn once. Default: all.',
    'Set it if the rewards of stage 2 start above 0.8, or if sampling the targets takes too long.',
  ),
  maxLength: advice(
    'Longest query or document, in tokens of the whole prompt; longer text is cut.',
    'Lower for speed if texts are short; raise if `truncated` is high and the ends of texts matter.',
  ),
};

const rl = {
  steps: advice('Training steps.', 'Raise as long as the validation score of `reasoned` keeps rising.'),
  queriesPerStep: advice(
    'Queries per step. The default shrinks to the number of queries if there are fewer.',
    'Raise if `reward` is too noisy to show a trend over 20 steps.',
  ),
  groupSize: advice(
    'Completions per query. Advantages are relative to this group.',
    'Raise if `zero_variance` is high and rewards are low: one lucky completion in a group is enough to learn from.',
  ),
  temperature: advice(
    'Sampling temperature of the rollouts. The log-probabilities in the loss use the same one.',
    'Raise a little if the completions of a group are all similar; lower if they are nonsense.',
  ),
  maxNewTokens: advice(
    'Length limit of a completion, including the embed token.',
    'Raise if `truncated` is high: a cut completion earns 0. At least `sft.reasoning.maxNewTokens`, preferably twice that.',
  ),
  maxLength: advice(
    'Longest prompt in tokens; longer queries and documents are cut.',
    'Lower for speed if texts are short.',
  ),
  lossNormalization: advice(
    'How token losses are averaged: over all tokens of the step (`dapo`), over a fixed length (`dr_grpo`), or within each completion first (`grpo`).',
    'Rarely. `grpo` favours short good completions and long bad ones.',
  ),
  advantageScaling: advice(
    'What advantages are divided by: the standard deviation of the `group` or of the `batch`, or nothing (`none`).',
    '`none` or `batch` if groups with nearly equal rewards make the updates noisy.',
  ),
  clipLow: advice(
    'Clips the probability ratio from below at 1 - clipLow.',
    'Matters only with `numIterations` above 1.',
  ),
  clipHigh: advice(
    'Clips the probability ratio from above at 1 + clipHigh.',
    'As for `clipLow`; raise it above `clipLow` if completions become too similar.',
  ),
  beta: advice(
    'Weight of the KL penalty to the model that stage 2 starts from; 0 keeps no copy of it.',
    'Raise to between 0.001 and 0.04 if the reasoning drifts into meaningless text that earns rewards.',
  ),
  tokenEmbeddings,
  numIterations: advice(
    'Updates per batch of rollouts.',
    '2 or more if sampling is much slower than the update; watch `clip_ratio`.',
  ),
  policyWeight: advice(
    'Weight of the policy gradient, which trains the reasoning.',
    '0 trains with the contrastive term alone, for comparison.',
  ),
  'contrastive.weight': advice(
    'Weight of the contrastive term, which trains the embedding. It covers the rollouts that beat their group.',
    'Lower if `direct` falls in stage 2. At 0 stage 2 learns much more slowly.',
  ),
  'contrastive.temperature': advice(
    'Temperature of the contrastive term.',
    'Change it with `sft.temperature`.',
  ),
  maskTruncated: advice(
    "Leaves cut completions out of the loss; they still count in their group's baseline.",
    'Switch on if `truncated` is high and you cannot raise `maxNewTokens`.',
  ),
  resampleRounds: advice(
    'Replaces zero-variance groups (all rewards equal) with other queries, at most this many times.',
    'Set to 1 or 2 if `zero_variance` is above a half. A step takes up to that many times longer.',
  ),
  'reward.cut': advice(
    'Only ranks up to this one earn a reward. Default: all.',
    'Set to 10 or 100 once most ranks are good; if set too early, it leaves too many rewards at 0.',
  ),
  'reward.tokenCost': advice(
    'Amount subtracted from the reward per token of reasoning.',
    'Set to a small value (0.001) if `completion_length` grows and the score does not.',
  ),
  auditEvery: advice(
    'Steps between audits of the environment; 0 for none. The exact environment has no error to audit.',
    'Set it if the environment does not encode everything at each step.',
  ),
};

/** The environment of stage 2. */
const environment = {
  kind: advice(
    'How the corpus is kept up to date: `exact` encodes all of it at every step, `selective` only the documents that may change the rewards most. See [the evolving corpus](../environment.md). The other settings of this section apply to `selective`.',
    '`selective` if `environment` takes most of the time of a step, typically from a few thousand documents on.',
  ),
  policy: advice(
    'Which documents are encoded: those that may change the rewards most (`value`), those near rollouts and positives (`region`), or random ones (`random`).',
    'Rarely; the others are baselines.',
  ),
  'budget.documents': advice(
    'Documents encoded per step; positives always are. Set one of `documents`, `fraction` and `targetError`.',
    'If a step should take the same time for every corpus.',
  ),
  'budget.fraction': advice(
    'The same, as a share of the corpus; the default if no budget is set.',
    'Raise if audits find an error that matters; lower for a larger corpus.',
  ),
  'budget.targetError': advice(
    'Upper limit of the mean absolute error of the rewards. Documents are encoded until the expected error is half of it.',
    'Set to about 0.005, with `rl.auditEvery`, if accuracy matters more than time.',
  ),
  'budget.most': advice(
    'Largest share of the corpus to encode, with `targetError`. Default: 1.',
    'Lower to limit the time of a step.',
  ),
  index: advice(
    '`exact` scans all vectors; `ann` searches a proximity graph of those that have not changed.',
    '`ann` with `region` on large corpora. Such runs do not repeat bit for bit.',
  ),
  graphFrom: advice(
    'Smallest number of documents for which a graph is built, if `index` is `ann`.',
    'Rarely.',
  ),
  'drift.map': advice(
    'Moves the vectors that are not encoded, with a linear map learned at each step.',
    'Rarely.',
  ),
  'drift.lambda': advice('Ridge of the map, as a multiple of pairs / dimension.', 'Rarely.'),
  'drift.kernel': advice(
    'Corrects vectors near the queries by the errors of the map on similar documents.',
    '`false` if `environment_map` takes long. Errors then grow by a third or up to double, in rare steps more.',
  ),
  'drift.ridge': advice('Ridge of the kernel correction.', 'Rarely.'),
  'drift.words': advice(
    'Share of words in the similarity of documents; the rest comes from their vectors.',
    'Rarely.',
  ),
  'drift.sharpness': advice('How close vectors must be to count as similar.', 'Rarely.'),
  'value.random': advice(
    'Share of the budget spent on random documents, which help to learn the map; at most 1,024 documents.',
    'Rarely.',
  ),
  'value.rounds': advice(
    'Rounds of choosing documents. The drift is refitted before each.',
    'Lower for speed.',
  ),
  'value.width': advice(
    'Factor on the uncertainty estimated from the errors of the drift.',
    'Raise if audits find more than `expected_error`.',
  ),
  'value.ageLimit': advice("Age in steps at which a document's uncertainty stops growing.", 'Rarely.'),
  'value.candidates': advice(
    'Largest corpus that is examined in full. In a larger one, only the positives and at most 8,192 documents are examined closely. Positives that rank behind those count neither for the expected error nor for audits.',
    'Lower if `environment_value` takes long; raise to the size of the corpus if `positives_unseen` is large.',
  ),
  'region.topK': advice('Top documents of each rollout that belong to the region.', 'With `region` only.'),
  'region.neighbours': advice(
    'Nearest neighbours of each positive that belong to the region; 0 for none.',
    'With `region` only.',
  ),
  'region.staleness': advice(
    'Largest age, in steps, of a vector that counts as fresh.',
    'With `region` only. Raise to spread the budget.',
  ),
  'region.rounds': advice('Largest number of searches.', 'With `region` only.'),
  'region.sweep': advice(
    'Share of the budget for the oldest documents anywhere; 1 for all of it.',
    'With `region` only.',
  ),
  'audit.documents': advice(
    'Documents that an audit encodes; see `rl.auditEvery`.',
    'Raise for narrower intervals of `audited_error`.',
  ),
  'audit.bound': advice(
    'An audit warns if the upper end of its interval for the mean absolute error of the rewards exceeds this.',
    'Set it to the error that your rewards can tolerate.',
  ),
};

const pretrain = {
  steps: advice(
    'Training steps.',
    'Raise: a base that knows more reasons better, and this is the cheapest stage.',
  ),
  batchSize: advice(
    'Sequences per step, each from a different document. The default shrinks to the number of documents if there are fewer.',
    'Raise if `loss` is noisy.',
  ),
  maxLength: advice(
    'Longest sequence in tokens; longer text is split.',
    'Set it to the length of your documents; at most `model.maxPositions`.',
  ),
  'contrastive.batchSize': advice(
    'Pairs of related texts per step. InfoNCE pulls each pair together, in addition to next-token training; 0 for none.',
    'Set it if there are few training queries: the base then learns to embed before stage 1.',
  ),
  'contrastive.maxLength': advice(
    'Longest text of a pair, in tokens of the whole prompt; longer text is cut.',
    'Set it to the length of your documents.',
  ),
  'contrastive.weight': advice('Weight of the contrastive term, relative to the next-token loss.', 'Rarely.'),
  'contrastive.temperature': advice(
    'Temperature of the contrastive term.',
    'Change it with `sft.temperature`.',
  ),
  vocabSize: advice(
    'Number of token ids, including special tokens. Default: 8,192.',
    'Lower for small collections: the model never learns rare ids.',
  ),
  chatShare: advice(
    'Share of conversations in the pre-training text. Default: 0.5.',
    'Raise if completions in stage 2 ignore the query.',
  ),
  lowercase: advice(
    'Converts all text to lower case. Default: `false`.',
    'Switch on for small collections, where capitals only split words.',
  ),
  start: advice(
    'Initial weights: `random`, `lexical` (embeddings match words before any training), or `latent` (they match words and related words). Default: `random`.',
    '`latent` for small collections.',
  ),
  'model.hiddenSize': advice(
    'Width of the model and length of its vectors; a multiple of 8 x `heads`.',
    'Raise with the size of the collection.',
  ),
  'model.intermediateSize': advice('Width of the feed-forward layers.', 'About 2.7 times `hiddenSize`.'),
  'model.layers': advice('Number of layers.', 'Raise if queries need several steps of reasoning.'),
  'model.heads': advice('Number of attention heads.', 'Change it with `hiddenSize`.'),
  'model.kvHeads': advice('Number of key/value heads. Default: `heads`.', 'Rarely.'),
  'model.tied': advice('The token embedding and the output head share their weights.', 'Rarely.'),
  'model.maxPositions': advice(
    'Longest sequence in tokens, including reasoning.',
    'Raise if documents are cut.',
  ),
};

/** All entries, by dotted key as in `--set`. */
export const SETTINGS_GUIDE: Readonly<Record<string, Advice>> = {
  data: advice('BEIR folder, or `atlas` for the built-in world.', 'Required.'),
  out: advice('Run folder.', 'Required.'),
  base: advice(
    'Model folder that stage 1 starts from.',
    'Set it if you can: a pre-trained base reasons better than any model from scratch.',
  ),
  model: advice(
    'Model folder that stage 2 starts from. Without a run folder (`out`), evaluation, embedding, indexing and searching use this model.',
    'Set it to run the stages one by one, or to use a model without its run.',
  ),
  seed: advice(
    'Seed of weights, splits and both stages.',
    'Change it to see how much of a difference is chance.',
  ),
  allowMissing: advice(
    'Accepts judgements of missing documents or queries. Training leaves them out; evaluation scores them as trec_eval does.',
    'Switch on for a subset of a public collection.',
  ),
  excludeSelf: advice(
    'Leaves a query that is a document out of its own ranking, in training and evaluation. `auto`: if both have the same id and text, or the same id and no judgement pairs a query with its own id. `always`: if ids are the same, as BEIR does.',
    '`never` if ids coincide by accident; `always` to compare with figures of BEIR.',
  ),
  analyzer: advice(
    'How texts become words for BM25, hard negatives and the drift: as text, or as code with identifiers split. `auto` decides by what most documents are.',
    'Set it if the report of `evaluate` names the wrong one.',
  ),
  saveEvery: advice('Steps between checkpoints.', 'Lower if a killed run would lose too much.'),
  'prompts.version': advice('Version of the prompt format.', 'Never.'),
  'prompts.embedToken': advice(
    'The token at which the embedding is read.',
    'Only for a model trained elsewhere with another token.',
  ),
  'prompts.query.system': advice('Instruction before a query.', 'Set it to say what your documents are.'),
  'prompts.query.assistant': advice('Text before the embed token.', 'Rarely.'),
  'prompts.document.system': advice(
    'Instruction before a document.',
    'Set it to say what your documents are.',
  ),
  'prompts.document.assistant': advice('Text before the embed token.', 'Rarely.'),
  'prompts.reasoning.system': advice(
    'Instruction to reason. It must say that the reasoning ends with the embed token.',
    'Set it to say what helps to find your documents: synonyms, units, names.',
  ),
  'prompts.templateVariables': advice(
    'Variables for the chat template besides the messages, by name.',
    'Set them for a template with switches: with `enable_thinking: false`, the reasoning of Qwen3 starts at once.',
  ),
  'queries.sftSplit': advice(
    'Split for stage 1. Default: `sft` if it exists, otherwise a share of `train`.',
    'Set it if you made your own splits.',
  ),
  'queries.rlSplit': advice(
    'Split for stage 2. Default: `rl` if it exists, otherwise the rest of `train`.',
    'Set it if you made your own splits; no query may be in both.',
  ),
  'queries.sftShare': advice(
    'Share of `train` for stage 1 if both stages use that split.',
    'Lower if the rewards of stage 2 start high: it needs queries that are still hard.',
  ),
  'queries.titlePairs': advice(
    'Stage 1 also learns from document titles as queries for their texts.',
    'Switch on if documents have titles and you have fewer than a few thousand training queries.',
  ),
  'validation.share': advice(
    'Share of `train` to hold out if there is no split `dev`; 0 for none.',
    'Lower if every training query counts.',
  ),
  'validation.queries': advice(
    'Largest number of validation queries, evaluated after each stage.',
    '0 if encoding the corpus is slow.',
  ),
  'validation.every': advice(
    'Steps of stage 2 between validations; 0 for none.',
    'Set it to see when to stop. Each validation encodes the corpus.',
  ),
  ...under('sft', { ...sft, ...under('optimization', optimization) }),
  ...under('rl', { ...rl, ...under('environment', environment), ...under('optimization', optimization) }),
  ...under('pretrain', { ...pretrain, ...under('optimization', optimization) }),
  'evaluate.split': advice('Split to evaluate on.', 'Set it to the name in your collection.'),
  'evaluate.systems': advice(
    'Any of bm25, direct, reasoned, hybrid, hybrid_reasoned. Default: all, with hybrids only if they can be tuned.',
    '`[bm25, direct]` is quick, because it generates nothing.',
  ),
  'evaluate.queries': advice('Largest number of judged queries. Default: all.', 'Set it for a quick look.'),
  'evaluate.depth': advice(
    'Documents per ranking.',
    'Raise if others score your run files to a greater depth.',
  ),
  'evaluate.maxLength': advice(
    'Longest text in tokens; longer text is cut. Default: `embed.maxLength`.',
    'Raise to see whether longer texts help.',
  ),
  'evaluate.maxNewTokens': advice(
    'Length limit of the reasoning. Default: `embed.maxNewTokens`.',
    'Raise to see whether longer reasoning helps.',
  ),
  'evaluate.tuningQueries': advice(
    'Largest number of queries to tune the hybrids on. With fewer than 30, a note appears.',
    'Rarely.',
  ),
  'embed.maxLength': advice(
    'Longest text in tokens, without reasoning; longer text is cut. Default: as in training, or 512 if the model does not say.',
    'Raise if texts that should stay whole are cut.',
  ),
  'embed.maxNewTokens': advice(
    'Length limit of the reasoning. Default: as in training, or 44 if the model does not say.',
    'Lower if you need fast answers.',
  ),
  'embed.strict': advice(
    'Rejects texts that do not fit instead of cutting them.',
    'Switch on if part of a text is worse than none.',
  ),
  'index.folder': advice(
    'Folder of the index. Default: `index` in the run folder.',
    'Set it for several indexes.',
  ),
  'index.ann': advice(
    'Also builds a proximity graph, for faster, approximate searches.',
    'Switch on from about a hundred thousand documents.',
  ),
  'search.reasoning': advice(
    'Lets the model reason about queries before it embeds them.',
    '`false` to compare, or to save time.',
  ),
  'search.k': advice('Documents per query.', 'Set it to the number you show.'),
};
