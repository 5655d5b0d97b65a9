/** Turns rewarded groups into a training batch: labels of the policy gradient and anchors of the contrastive term. */
import { PromptCache } from '../checkpoint/index.js';
import type { Policy } from '../model/index.js';
import { randomStream } from '../run/index.js';
import { mayBeNegative, positivesOf, type SftData } from '../sft/index.js';
import type { Anchor, Label, StepRequest, TrainingSequence } from '../train/index.js';
import { advantages, tokenWeights } from './advantage.js';
import type { ResolvedRlOptions } from './options.js';
import type { Group, Rollout } from './rollout.js';

export interface UpdateBatch {
  /** Undefined where nothing in the step can teach anything. */
  request: StepRequest | undefined;
  /** The rollouts behind the first sequences of the request, in their order. */
  trained: { rollout: Rollout; advantage: number }[];
  /** Rollouts whose embedding is drawn to its document. */
  anchors: number;
}

/** Tokens of a completion that enter the loss: all of them, or none of a masked one. */
const countedTokens = (rollout: Rollout, options: ResolvedRlOptions): number =>
  options.maskTruncated && rollout.outcome === 'truncated' ? 0 : rollout.completion.tokens.length;

/**
 * Lays a step out. Rollouts without any influence (masked, or neither advantage nor KL term) are left out of the run of
 * the model and of the metrics of its tokens; in the advantages and in the denominators of the loss they stay.
 * @param cache prompts of the documents; a trainer keeps one over its steps.
 */
export async function updateBatch(
  policy: Pick<Policy, 'tokenizer' | 'prompts'>,
  groups: readonly Group[],
  data: Pick<SftData, 'document' | 'negatives'>,
  options: ResolvedRlOptions,
  step: number,
  cache = new PromptCache(policy.tokenizer, policy.prompts),
): Promise<UpdateBatch> {
  const rollouts = groups.flat();
  const own = advantages(
    groups.map((group) => group.map(({ reward }) => reward)),
    options.advantageScaling,
  ).flat();
  const weights = tokenWeights(
    rollouts.map((rollout) => countedTokens(rollout, options)),
    options.lossNormalization,
    options.maxNewTokens,
  );
  const trained: UpdateBatch['trained'] = [];
  const sequences: TrainingSequence[] = [];
  for (const [i, rollout] of rollouts.entries()) {
    const advantage = own[i] as number;
    const weight = weights[i] as number;
    if (weight === 0 || (advantage === 0 && options.beta === 0)) continue;
    sequences.push(policySequence(rollout, advantage, weight, options));
    trained.push({ rollout, advantage });
  }
  const drawn = trained.flatMap(({ rollout, advantage }, sequence) =>
    advantage > 0 && rollout.outcome === 'embedded' ? [{ rollout, sequence }] : [],
  );
  if (sequences.length === 0) return { request: undefined, trained, anchors: 0 };
  const request: StepRequest = { sequences, temperature: options.temperature };
  if (options.contrastive.weight === 0 || drawn.length === 0) return { request, trained, anchors: 0 };

  const random = randomStream(options.seed, 'rl', 'negatives', step);
  const queries = groups.map((group) => (group[0] as Rollout).query);
  const positives = queries.map((query) => random.choice(positivesOf(query)));
  const hard = queries.map((query, i) => data.negatives(query, positives[i] as string, random));
  const documents = [...positives, ...hard.filter((id) => id !== undefined)];
  const column = new Map(queries.map((query, i) => [query.id, i]));
  const anchors: Anchor[] = drawn.map(({ rollout, sequence }) => {
    const positive = column.get(rollout.query.id) as number;
    return {
      sequence,
      positive,
      infoNceWeight: options.contrastive.weight / drawn.length,
      tripletWeight: 0,
      falseNegatives: documents.flatMap((id, i) =>
        i !== positive && !mayBeNegative(rollout.query, id) ? [i] : [],
      ),
    };
  });
  const first = sequences.length;
  const prompts = await cache.direct(documents.map(data.document), 'document', {
    maxTokens: options.maxLength,
  });
  for (const { ids } of prompts) {
    sequences.push({ ids, labels: [], embed: ids.length - 1 });
  }
  return {
    request: { ...request, contrastive: { anchors, documents: documents.map((_, i) => first + i) } },
    trained,
    anchors: drawn.length,
  };
}

/** Prompt and completion; every token of the completion is a label, the embed token included. */
function policySequence(
  { prompt, completion, outcome }: Rollout,
  advantage: number,
  weight: number,
  { policyWeight }: ResolvedRlOptions,
): TrainingSequence {
  const ids = [...prompt, ...completion.tokens];
  const labels: Label[] = completion.tokens.map((_, i) => ({
    position: prompt.length - 1 + i,
    weight: policyWeight * weight,
    klWeight: weight,
    advantage,
    oldLogProbability: completion.logProbabilities[i] as number,
  }));
  return { ids, labels, ...(outcome === 'embedded' && { embed: ids.length - 1 }) };
}
