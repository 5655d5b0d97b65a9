/**
 * The commands, in the order the help shows them. A command's file holds its options and examples and loads what it
 * works with only when it runs, so that `--help` stays quick.
 */
import type { Command } from 'commander';
import { demoCommand } from './demo.js';
import { inspectCommand } from './inspect.js';

export const commands: readonly (() => Command)[] = [demoCommand, inspectCommand];
