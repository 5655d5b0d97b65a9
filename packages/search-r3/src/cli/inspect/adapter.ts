/** What an adapter folder holds: its shape, its size and its base. */

import { elementCount } from '../../checkpoint/parameters.js';
import { readAdapter } from '../../checkpoint/peft/files.js';
import type { Inspection } from './inspection.js';
import { pairs } from './text.js';

export async function inspectAdapter(path: string): Promise<Inspection> {
  const { adapter, base, retriever } = await readAdapter(path);
  const { weights, rank, alpha, rsLora, dropout = 0, targets, tokenId } = adapter;
  const parameters = [...weights.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const value = {
    kind: 'adapter',
    path,
    ...{ rank, alpha, rsLora, dropout, targets, parameters },
    tokenId: tokenId ?? null,
    base: base ?? null,
    preset: retriever?.preset ?? null,
  };
  return {
    value,
    text: () =>
      [
        `Adapter ${path}`,
        pairs([
          ['base', base ?? 'not named'],
          ['rank', rank],
          ['alpha', `${alpha}${rsLora ? ' (rank-stabilised)' : ''}`],
          ['dropout in training', dropout],
          ['linear layers', targets.join(', ')],
          ['parameters', parameters],
          ['trained token', tokenId ?? 'none'],
        ]),
      ].join('\n\n'),
  };
}
