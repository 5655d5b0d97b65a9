/**
 * The settings of each command: one YAML file serves them all, and each reads its own parts. Everything that can be
 * known to be impossible without reading data or a model is refused here.
 */
import { relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { ATLAS, type Settings, settingsSchema as settings } from './settings.js';

type Context = z.core.$RefinementCtx;

/** A setting that the command cannot do without, with the text it has elsewhere. */
function required(key: 'data' | 'out' | 'base' | 'model', what: string) {
  const { ifUnset: _, ...meta } = settings.shape[key].meta() ?? {};
  return z
    .string({ error: ({ input }) => (input === undefined ? `expected ${what}` : 'expected text') })
    .min(1)
    .meta(meta);
}

const data = required('data', `a BEIR folder, or ${ATLAS} (--data)`);
const out = required('out', 'a run folder (--out)');
/** Of the commands that use a model. */
const model = settings.shape.model.meta({
  description: 'Model folder, trained or not, or GGUF file.',
  ifUnset: 'the model of the run in the config',
});

export const pretrainSettings = settings.extend({ data, out }).superRefine((value, context) => {
  refuseNested(value, context);
  refusePretraining(value, context);
});
export const sftSettings = settings
  .extend({ data, out, base: required('base', 'the folder of a base model (--base)') })
  .superRefine((value, context) => {
    refuseNested(value, context);
    refuseQueries(value, context);
  });
/** Of `targets`, which trains nothing. */
export const targetSettings = settings
  .extend({ data, base: required('base', 'the folder of a base model (--base)') })
  .superRefine((value, context) => {
    refuseQueries(value, context);
    if (value.sft.reasoning.source !== 'file') return;
    const message = 'expected a source other than file: its targets are a file already';
    context.addIssue({ code: 'custom', path: ['sft', 'reasoning', 'source'], message });
  });
export const rlSettings = settings
  .extend({
    data,
    out,
    model: required('model', 'the folder of a model of stage 1 (--model)').meta({
      description: 'Model folder from stage 1.',
    }),
  })
  .superRefine((value, context) => {
    refuseNested(value, context);
    refuseIdleAudits(value, context);
  });
export const trainSettings = settings.extend({ data, out }).superRefine((value, context) => {
  refuseNested(value, context);
  refuseQueries(value, context);
  if (value.base === undefined) {
    refusePretraining(value, context);
    refuseLongReasoning(value, context);
    refuseLongVectors(value, context);
  }
  refuseShortRollouts(value, context);
  refuseIdleAudits(value, context);
});
export const evaluateSettings = settings.extend({ data, model });
export const embedSettings = settings.extend({ model });
export const indexSettings = settings.extend({ data, model });
export const searchSettings = settings.extend({ model });

/** Of `inspect --plan`, which needs no run folder. */
export const planSettings = settings.extend({ data });

export type PretrainSettings = z.output<typeof pretrainSettings>;
export type SftSettings = z.output<typeof sftSettings>;
export type TargetSettings = z.output<typeof targetSettings>;
export type RlSettings = z.output<typeof rlSettings>;
export type TrainSettings = z.output<typeof trainSettings>;
export type EvaluateSettings = z.output<typeof evaluateSettings>;

/** Overwriting the run would remove the model it starts from, and the collection. */
function refuseNested(value: Settings, context: Context): void {
  for (const key of ['base', 'model', 'data'] as const) {
    const [folder, run] = [value[key], value.out];
    if (folder === undefined || run === undefined || (key === 'data' && folder === ATLAS)) continue;
    const inside = relative(resolve(run), resolve(folder));
    if (inside === '..' || inside.startsWith(`..${sep}`)) continue;
    context.addIssue({
      code: 'custom',
      path: [key],
      message: `expected a folder outside of the run folder ${run}`,
    });
  }
}

function refuseQueries({ sft }: Settings, context: Context): void {
  if (sft.maxQueries === undefined || sft.batchSize === undefined || sft.maxQueries >= sft.batchSize) return;
  const message = `expected at most the ${sft.maxQueries} queries of sft.maxQueries`;
  context.addIssue({ code: 'custom', path: ['sft', 'batchSize'], message });
}

/** What stage 1 taught to say must fit a rollout of stage 2, or none reaches the embed token. */
function refuseShortRollouts({ sft: { reasoning }, rl }: Settings, context: Context): void {
  if (!reasoning.enabled || rl.maxNewTokens >= reasoning.maxNewTokens) return;
  const message = `expected at least the ${reasoning.maxNewTokens} of sft.reasoning.maxNewTokens`;
  context.addIssue({ code: 'custom', path: ['rl', 'maxNewTokens'], message });
}

/** The exact environment has no error to measure. */
function refuseIdleAudits({ rl }: Settings, context: Context): void {
  if (rl.auditEvery === 0 || rl.environment.kind !== 'exact') return;
  const message = 'expected 0 where rl.environment.kind is exact: it makes no error';
  context.addIssue({ code: 'custom', path: ['rl', 'auditEvery'], message });
}

function refusePretraining({ data, pretrain }: Settings, context: Context): void {
  const { maxPositions } = pretrain.model;
  for (const path of [['maxLength'], ['contrastive', 'maxLength']] as const) {
    const { contrastive } = pretrain;
    const pairs = contrastive.batchSize > 0 ? contrastive.maxLength : 0;
    if ((path.length === 1 ? pretrain.maxLength : pairs) <= maxPositions) continue;
    const message = `expected at most the ${maxPositions} positions of pretrain.model.maxPositions`;
    context.addIssue({ code: 'custom', path: ['pretrain', ...path], message });
  }
  for (const key of ['vocabSize', 'chatShare', 'lowercase', 'start'] as const) {
    if (data !== ATLAS || pretrain[key] === undefined) continue;
    const message = `expected no such setting with the data ${ATLAS}, which has its own words and conversations`;
    context.addIssue({ code: 'custom', path: ['pretrain', key], message });
  }
  if (data === ATLAS && pretrain.contrastive.batchSize > 0) {
    const message = `expected 0 with the data ${ATLAS}, whose documents the base model does not read`;
    context.addIssue({ code: 'custom', path: ['pretrain', 'contrastive', 'batchSize'], message });
  }
}

/** Shorter vectors must be shorter than those of the new model. */
function refuseLongVectors({ pretrain, sft, rl }: Settings, context: Context): void {
  const { hiddenSize } = pretrain.model;
  const message = `expected lengths below the ${hiddenSize} of pretrain.model.hiddenSize`;
  for (const [path, lengths = []] of [
    [['sft', 'matryoshka'], sft.matryoshka],
    [['rl', 'contrastive', 'matryoshka'], rl.contrastive.matryoshka],
  ] as const) {
    if (Math.max(0, ...lengths) >= hiddenSize) context.addIssue({ code: 'custom', path: [...path], message });
  }
}

/** Reasoning must leave room for its prompt. */
function refuseLongReasoning({ pretrain, sft, rl }: Settings, context: Context): void {
  const { maxPositions } = pretrain.model;
  const message = `expected fewer than the ${maxPositions} positions of pretrain.model.maxPositions`;
  if (sft.reasoning.enabled && sft.reasoning.maxNewTokens >= maxPositions) {
    context.addIssue({ code: 'custom', path: ['sft', 'reasoning', 'maxNewTokens'], message });
  }
  if (rl.maxNewTokens >= maxPositions) {
    context.addIssue({ code: 'custom', path: ['rl', 'maxNewTokens'], message });
  }
}
