/** The table of stages. `plan.ts` puts them in order, `run-plan.ts` runs them. */
import { evaluateStage } from './evaluate.js';
import { pretrainStage } from './pretrain.js';
import { reportStage } from './report.js';
import { rlStage } from './rl.js';
import { sftStage } from './sft.js';

export const STAGES = {
  pretrain: pretrainStage,
  sft: sftStage,
  rl: rlStage,
  evaluate: evaluateStage,
  report: reportStage,
};
