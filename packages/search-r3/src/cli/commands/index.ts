/**
 * The commands, in the order the help shows them. A command's file holds its options and examples. It imports
 * everything else only when it runs, so that `--help` stays quick.
 */
import type { Command } from 'commander';
import { demoCommand } from './demo.js';
import { embedCommand } from './embed.js';
import { evaluateCommand } from './evaluate.js';
import { indexCommand } from './index-corpus.js';
import { inspectCommand } from './inspect.js';
import { mergeCommand } from './merge.js';
import { pretrainCommand } from './pretrain.js';
import { rlCommand } from './rl.js';
import { searchCommand } from './search.js';
import { sftCommand } from './sft.js';
import { targetsCommand } from './targets.js';
import { trainCommand } from './train.js';
import { tunePromptCommand } from './tune-prompt.js';

export const commands: readonly (() => Command)[] = [
  demoCommand,
  pretrainCommand,
  targetsCommand,
  sftCommand,
  rlCommand,
  trainCommand,
  tunePromptCommand,
  mergeCommand,
  evaluateCommand,
  embedCommand,
  indexCommand,
  searchCommand,
  inspectCommand,
];
