/**
 * What every setting does and when to change it: the words of docs/guides/options.md. Types and defaults come from the
 * schemas, and a test holds that every setting has its words and that there are none of settings that are gone.
 */

/** What a setting does, and when to change it. */
export interface Advice {
  readonly does: string;
  readonly when: string;
}

const advice = (does: string, when: string): Advice => ({ does, when });

/** The same in both stages. */
const tokenEmbeddings = advice(
  'Whether training changes the token tables: all rows, or that of the embed token alone.',
  '`trained` for a small model from scratch that still has its words to learn; `frozen` keeps the names that training does not meet, and saves memory.',
);

/** The same in every section that has an optimiser. */
const optimization = {
  learningRate: advice(
    'Peak learning rate of AdamW.',
    'Lower by 10 to 100 times for a base of half a billion parameters or more; higher for a very small model. The first thing to try.',
  ),
  schedule: advice(
    'Shape after warm-up: straight or cosine to `finalLearningRate`, or unchanged.',
    'Rarely. `constant` where `steps` may still be raised on resuming.',
  ),
  warmupSteps: advice(
    'Steps in which the learning rate rises from 0, at most half of all.',
    'Raise where the loss jumps in the first steps; lower for a short trial.',
  ),
  finalLearningRate: advice('Learning rate at the last step, as a fraction of the peak.', 'Rarely.'),
  weightDecay: advice(
    'Decoupled decay of matrices; norms and biases have none.',
    'Raise where the training loss falls and the validation score does not.',
  ),
  betas: advice('Decay rates of the two moments of AdamW.', 'Rarely.'),
  maxGradientNorm: advice(
    'Gradients of a larger global norm are scaled down to it.',
    'Lower where `gradient_norm` has spikes after which the loss is worse.',
  ),
  maxTokens: advice(
    'Padded tokens in one run of the model; a larger batch is taken in pieces with the same result.',
    'Lower where memory does not suffice. Changes no number of the result.',
  ),
  checkpointActivations: advice(
    'Recompute activations per layer in the backward pass: less memory, about a third more time.',
    'Where memory does not suffice at the smallest `maxTokens`.',
  ),
};

const under = (section: string, entries: Record<string, Advice>) =>
  Object.fromEntries(Object.entries(entries).map(([key, entry]) => [`${section}.${key}`, entry]));

const sft = {
  steps: advice(
    'Training steps.',
    'Fewer rather than more: stage 2 learns from what stage 1 leaves uncertain. Stop where the validation score of `direct` stops rising.',
  ),
  batchSize: advice(
    'Queries per step, each with a positive and a hard negative; the others of the step are negatives too. Where there are fewer queries, the default is as many as there are.',
    'Raise where there is time: more negatives, a better embedding. Memory does not grow with it, see `optimization.maxTokens`.',
  ),
  'weights.crossEntropy': advice(
    'Weight of imitating the reasoning targets and of ending with the embed token.',
    'Raise where `embedded` is low in stage 2. At 0 the model forgets how to reason.',
  ),
  'weights.kl': advice(
    'Weight of the KL divergence from the base model on the reasoning.',
    'Raise where the reasonings after stage 1 are worse text than those of the base.',
  ),
  'weights.infoNce': advice('Weight of InfoNCE: the positive among all documents of the step.', 'Rarely.'),
  'weights.triplet': advice(
    'Weight of the triplet margin between the positive and the hard negative.',
    'Lower where hard negatives are often answers that nobody has judged.',
  ),
  temperature: advice(
    'Temperature of InfoNCE over cosines; small ones look at the hardest negatives.',
    'Raise to 0.07 or 0.1 where judgements are noisy.',
  ),
  margin: advice('Margin of the triplet term, on cosines.', 'Rarely.'),
  'reasoning.enabled': advice(
    "Train on the base model's own reasonings too.",
    'False only for a model that is to embed directly: without it the model forgets how to reason.',
  ),
  'reasoning.contrastiveWeight': advice(
    'Weight of the contrastive terms on the embedding after reasoning, beside those on the direct one.',
    'Lower where `direct` matters more to you than `reasoned`.',
  ),
  'reasoning.maxNewTokens': advice(
    'Length limit of a reasoning target, in tokens.',
    'To how long the reasonings of your base are, up to 256 for a real one. At most `rl.maxNewTokens`.',
  ),
  'reasoning.temperature': advice('Temperature at which the targets are sampled.', 'Rarely.'),
  tokenEmbeddings,
  maxQueries: advice(
    'Training queries used, drawn once. Default: all.',
    'Set it where rewards of stage 2 start above 0.8, or sampling the targets takes too long.',
  ),
  maxLength: advice(
    'Longest query or document in tokens of its whole prompt; longer text is cut.',
    'Lower for speed where texts are short; raise where `truncated` is high and the end of a text matters.',
  ),
};

const rl = {
  steps: advice('Training steps.', 'As many as the validation score of `reasoned` keeps rising.'),
  queriesPerStep: advice(
    'Queries per step. Where there are fewer, the default is as many as there are.',
    'Raise where `reward` is so noisy that no trend can be seen over 20 steps.',
  ),
  groupSize: advice(
    'Completions per query, the group that advantages are relative to.',
    'Raise where `zero_variance` is high and rewards are low: one lucky completion in a group is enough to learn from.',
  ),
  temperature: advice(
    'Sampling temperature of the rollouts; the log-probabilities of the loss are at the same one.',
    'Raise a little where the completions of a group are all alike; lower where they are nonsense.',
  ),
  maxNewTokens: advice(
    'Length limit of a completion, the embed token included.',
    'Raise where `truncated` is high: a cut completion earns 0. At least `sft.reasoning.maxNewTokens`, better twice as many.',
  ),
  maxLength: advice(
    'Longest prompt in tokens; longer queries and documents are cut.',
    'Lower for speed where texts are short.',
  ),
  lossNormalization: advice(
    'How token losses become one number: over all tokens of the step (`dapo`), over a fixed length (`dr_grpo`), first within each completion (`grpo`).',
    'Rarely. `grpo` favours short good completions and long bad ones.',
  ),
  advantageScaling: advice(
    'What advantages are divided by: the standard deviation of the `group` or of the `batch`, or nothing.',
    '`none` or `batch` where groups of nearly equal rewards make the updates noisy.',
  ),
  clipLow: advice(
    'The probability ratio is clipped from below at 1 - clipLow.',
    'Matters only with `numIterations` above 1.',
  ),
  clipHigh: advice(
    'The probability ratio is clipped from above at 1 + clipHigh.',
    'As `clipLow`; raise it above that where completions become all alike.',
  ),
  beta: advice(
    'Weight of the KL penalty to the model that stage 2 starts from; 0 keeps no copy of it.',
    'Raise to 0.001 to 0.04 where reasonings drift into text that earns rewards and means nothing.',
  ),
  tokenEmbeddings,
  numIterations: advice(
    'Updates per batch of rollouts.',
    '2 or more where sampling is slow beside the update; watch `clip_ratio`.',
  ),
  policyWeight: advice(
    'Weight of the policy gradient, which trains the reasoning.',
    '0 leaves the contrastive term alone, for comparison.',
  ),
  'contrastive.weight': advice(
    "Weight of the contrastive term on the rollouts' embeddings that beat their group; it trains the embedding.",
    'Lower where `direct` falls in stage 2. At 0 stage 2 learns much slower.',
  ),
  'contrastive.temperature': advice('Temperature of that term.', 'Together with `sft.temperature`.'),
  maskTruncated: advice(
    "Leave cut completions out of the loss; they stay in their group's baseline.",
    'Where `truncated` is high and `maxNewTokens` can not be raised.',
  ),
  resampleRounds: advice(
    'Draw further queries, this many times at most, in place of groups whose rewards are all equal.',
    'Set to 1 or 2 where `zero_variance` is above a half. A step takes up to that many times longer.',
  ),
  'reward.cut': advice(
    'Only ranks up to this earn a reward. Default: all.',
    'Set to 10 or 100 once most ranks are good; early on it leaves too many rewards at 0.',
  ),
  'reward.tokenCost': advice(
    'Taken off the reward per token of reasoning.',
    'Small (0.001) where `completion_length` grows and the score does not.',
  ),
  auditEvery: advice(
    'Steps between audits of the environment; 0 never. The exact environment has no error to audit.',
    'Where the environment does not encode everything at each step.',
  ),
};

/** Of the environment of stage 2. */
const environment = {
  kind: advice(
    'What ranks the corpus: `exact` encodes all of it at every step, `selective` the documents that may change the rewards most. See [the evolving corpus](../environment.md). The other settings of this section are of `selective`.',
    '`selective` where `environment` takes most of the time of a step: from some thousand documents on.',
  ),
  policy: advice(
    'Which documents are encoded: what may change the rewards most (`value`), what lies near rollouts and positives (`region`), or any (`random`).',
    'Rarely: the others are baselines.',
  ),
  'budget.documents': advice(
    'Documents encoded per step; the positives in any case. One of `documents`, `fraction` and `targetError`.',
    'Where a step is to take the same time whatever the corpus.',
  ),
  'budget.fraction': advice(
    'The same as a share of the corpus; the default where no budget is given.',
    'Raise where audits find an error that matters; lower it for a larger corpus.',
  ),
  'budget.targetError': advice(
    'Mean absolute error of the rewards to stay below: encode until half of it is expected.',
    'To 0.005 or so, with `rl.auditEvery`, where the accuracy matters more than the time.',
  ),
  'budget.most': advice(
    'Share of the corpus at most, with `targetError`. Default: 1.',
    'Lower to bound the time of a step.',
  ),
  index: advice(
    'Scan all vectors, or a proximity graph for those that stay what they are.',
    '`ann` with `region` on large corpora; such runs can not be repeated to the bit.',
  ),
  graphFrom: advice('Documents from which there is a graph, where `index` is `ann`.', 'Rarely.'),
  'drift.map': advice('Move vectors that are not encoded by a linear map, learnt at each step.', 'Rarely.'),
  'drift.lambda': advice('Ridge of the map, as a multiple of pairs / dimension.', 'Rarely.'),
  'drift.kernel': advice(
    'Correct vectors near the queries by what the map leaves of similar documents.',
    'False where `environment_map` takes long: errors are a third to twice as large then, in rare steps more.',
  ),
  'drift.ridge': advice('Ridge of that correction.', 'Rarely.'),
  'drift.words': advice(
    'How far documents are similar by their words, the rest by their vectors.',
    'Rarely.',
  ),
  'drift.sharpness': advice('How near vectors must be to count as similar.', 'Rarely.'),
  'value.random': advice(
    'Share of the budget spent on random documents, from which the map is learnt; 1,024 of them at most.',
    'Rarely.',
  ),
  'value.rounds': advice('Rounds of choosing, each by a drift learnt anew.', 'Lower for speed.'),
  'value.width': advice(
    "Factor on the uncertainty that the drift's errors suggest.",
    'Raise where audits find more than `expected_error`.',
  ),
  'value.ageLimit': advice("Steps after which a document's uncertainty grows no more.", 'Rarely.'),
  'value.candidates': advice(
    'Corpora of up to so many documents are looked at closely as a whole, of larger ones the positives and 8,192 documents at most. Positives that stand behind those count neither for the expected error nor for audits.',
    'Lower where `environment_value` takes long; raise to the size of the corpus where `positives_unseen` is large.',
  ),
  'region.topK': advice('Documents found per rollout that belong to the region.', 'With `region` only.'),
  'region.neighbours': advice(
    'Nearest neighbours of the positives that belong to it; 0 none.',
    'With `region` only.',
  ),
  'region.staleness': advice(
    'Age in steps up to which a vector counts as fresh.',
    'With `region` only: raise to spread the budget.',
  ),
  'region.rounds': advice('Searches, at most.', 'With `region` only.'),
  'region.sweep': advice(
    'Share of the budget that goes to the oldest documents anywhere; 1 for all that are left.',
    'With `region` only.',
  ),
  'audit.documents': advice(
    'Documents encoded by an audit, see `rl.auditEvery`.',
    'Raise for narrower intervals of `audited_error`.',
  ),
  'audit.bound': advice(
    'Mean absolute error of the rewards beyond which an audit warns, by the upper end of its interval.',
    'To what error your rewards bear.',
  ),
};

const pretrain = {
  steps: advice('Training steps.', 'More: a base that knows more reasons better. It is the cheapest stage.'),
  batchSize: advice(
    'Sequences per step, each of another document. Where there are fewer documents, the default is as many as there are.',
    'Raise where `loss` is noisy.',
  ),
  maxLength: advice(
    'Longest sequence in tokens; longer text is cut into several.',
    'At most `model.maxPositions`; to the length of your documents.',
  ),
  'contrastive.batchSize': advice(
    'Pairs of texts that belong together per step, drawn to each other by InfoNCE beside reading; 0 for none.',
    'Set it where there are few training queries: the base then embeds before stage 1.',
  ),
  'contrastive.maxLength': advice(
    'Longest text of a pair in tokens of its whole prompt; longer text is cut.',
    'To the length of your documents.',
  ),
  'contrastive.weight': advice('Weight of that term beside the next-token loss.', 'Rarely.'),
  'contrastive.temperature': advice('Temperature of that term.', 'Together with `sft.temperature`.'),
  vocabSize: advice(
    'Ids of the tokenizer, special tokens included. Default 8,192.',
    'Lower for small collections: rare ids are never learned.',
  ),
  chatShare: advice(
    'Share of conversations in what the base model reads. Default 0.5.',
    'Raise where completions in stage 2 ignore the query.',
  ),
  lowercase: advice(
    'Lower-case all text. Default false.',
    'For small collections, where capitals only split words.',
  ),
  start: advice(
    'What training starts from: weights at `random`, or such that embeddings match words (`lexical`), or words and those that go with them (`latent`), before any training. Default `random`.',
    '`latent` for small collections.',
  ),
  'model.hiddenSize': advice(
    'Width of the model and length of its vectors; a multiple of eight times `heads`.',
    'Raise with the size of the collection.',
  ),
  'model.intermediateSize': advice('Width of the feed-forward layers.', 'About 2.7 times `hiddenSize`.'),
  'model.layers': advice('Layers.', 'Raise where questions take several steps.'),
  'model.heads': advice('Attention heads.', 'With `hiddenSize`.'),
  'model.kvHeads': advice('Heads of keys and values. Default: as many as heads.', 'Rarely.'),
  'model.tied': advice('Embedding and head share their weights.', 'Rarely.'),
  'model.maxPositions': advice(
    'Longest sequence in tokens, reasoning included.',
    'Raise where documents are cut.',
  ),
};

/** By dotted key, as in `--set`. */
export const SETTINGS_GUIDE: Readonly<Record<string, Advice>> = {
  data: advice('BEIR folder, or `atlas` for the built-in world.', 'Always given.'),
  out: advice('Run folder.', 'Always given.'),
  base: advice('Model folder that stage 1 starts from.', 'A real base reasons better than any from scratch.'),
  model: advice(
    'Model folder that stage 2 starts from. Evaluation, embedding, indexing and searching use it where there is no run folder (`out`).',
    'For the stages one by one; for a model of no run.',
  ),
  seed: advice('Of weights, splits and both stages.', 'To see how much of a difference is chance.'),
  allowMissing: advice(
    'Accept judgements that name missing documents or queries: left out of training, scored by evaluation as trec_eval does.',
    'For a part of a public collection.',
  ),
  saveEvery: advice('Steps between checkpoints.', 'Lower where a killed run would lose too much.'),
  'prompts.version': advice('Of the form of the prompts.', 'Never.'),
  'prompts.embedToken': advice('The token at which the embedding is read.', 'Only to take over a model.'),
  'prompts.query.system': advice('Instruction before a query.', 'To say what your documents are.'),
  'prompts.query.assistant': advice('Written before the embed token.', 'Rarely.'),
  'prompts.document.system': advice('Instruction before a document.', 'To say what your documents are.'),
  'prompts.document.assistant': advice('Written before the embed token.', 'Rarely.'),
  'prompts.reasoning.system': advice(
    'Instruction to reason; say that it must end with the embed token.',
    'To say what helps to find your documents: synonyms, units, names.',
  ),
  'prompts.templateVariables': advice(
    'What the chat template is told beside the messages, by name.',
    'For a template with switches: `enable_thinking: false` for Qwen3, whose reasoning then starts at once.',
  ),
  'queries.sftSplit': advice(
    'Split of stage 1. Default: `sft` where there is one, else a share of `train`.',
    'For splits of your own.',
  ),
  'queries.rlSplit': advice(
    'Split of stage 2. Default: `rl` where there is one, else the rest of `train`.',
    'For splits of your own; no query may be in both.',
  ),
  'queries.sftShare': advice(
    'Share of `train` for stage 1 where both stages draw on it.',
    'Lower where rewards of stage 2 start high: it needs queries that are still hard.',
  ),
  'queries.titlePairs': advice(
    'Learn from the titles of the corpus as queries for their texts, in stage 1.',
    'Where documents have titles and there are fewer than some thousand training queries.',
  ),
  'validation.share': advice(
    'Of `train`, held out where there is no split `dev`; 0 holds none out.',
    'Lower where every training query counts.',
  ),
  'validation.queries': advice(
    'Evaluated after each stage, at most.',
    '0 where encoding the corpus is slow.',
  ),
  'validation.every': advice(
    'Evaluate also every so many steps of stage 2; 0 never.',
    'To see when to stop. Each costs an encoding of the corpus.',
  ),
  ...under('sft', { ...sft, ...under('optimization', optimization) }),
  ...under('rl', { ...rl, ...under('environment', environment), ...under('optimization', optimization) }),
  ...under('pretrain', { ...pretrain, ...under('optimization', optimization) }),
  'evaluate.split': advice('Judgements to evaluate on.', 'As your collection calls it.'),
  'evaluate.systems': advice(
    'Any of bm25, direct, reasoned, hybrid, hybrid_reasoned. Default: all; hybrids only where they can be tuned.',
    '`[bm25, direct]` is quick: it generates nothing.',
  ),
  'evaluate.queries': advice('Judged queries, at most. Default: all.', 'For a quick look.'),
  'evaluate.depth': advice('Documents per ranking.', 'Raise for run files that others score deeper.'),
  'evaluate.maxLength': advice(
    'Longest text in tokens; longer text is cut. Default: `embed.maxLength`.',
    'To see what longer texts are worth.',
  ),
  'evaluate.maxNewTokens': advice(
    'Length limit of the reasoning. Default: `embed.maxNewTokens`.',
    'To see what longer reasonings are worth.',
  ),
  'evaluate.tuningQueries': advice(
    'Queries the hybrids are tuned on, at most; fewer than 30 are noted.',
    'Rarely.',
  ),
  'embed.maxLength': advice(
    'Longest text in tokens, reasoning aside; longer text is cut. Default: what the model was trained with, 512 where it does not remember.',
    'Where texts are cut that should not be.',
  ),
  'embed.maxNewTokens': advice(
    'Length limit of the reasoning. Default: what the model was trained with, 44 where it does not remember.',
    'Lower where answers must come fast.',
  ),
  'embed.strict': advice(
    'Refuse texts that do not fit instead of cutting them.',
    'Where a part of a text is worse than none.',
  ),
  'index.folder': advice('Folder of the index. Default: `index` in the run folder.', 'For several indexes.'),
  'index.ann': advice(
    'A proximity graph too: faster, approximate searches.',
    'From about a hundred thousand documents on.',
  ),
  'search.reasoning': advice(
    'Let the model reason about queries before it embeds them.',
    '`false` to compare, or to save the time.',
  ),
  'search.k': advice('Documents per query.', 'As many as you show.'),
};
