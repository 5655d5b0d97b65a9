/** What is rendered: templates by conversations, drawn from a seed. */
import { randomStream } from 'search-r3/run';
import { CONVERSATIONS } from './conversations.js';
import type { Case } from './oracle.js';
import { ExpressionGenerator, PREAMBLE } from './random-expressions.js';
import { TemplateGenerator } from './random-templates.js';

const GIVEN = {
  tokens: { bos_token: '<s>', eos_token: '</s>' },
  variables: { mode: 'on', level: 3, share: 0.5, thinking: false },
};

export function withConversations(template: string): Case[] {
  return CONVERSATIONS.map((messages, i) => ({
    template,
    messages,
    ...GIVEN,
    add_generation_prompt: i % 2 === 0,
  }));
}

export function expressionCases(seed: number, count: number): Case[] {
  return Array.from({ length: count }, (_, i) => {
    const expression = new ExpressionGenerator(randomStream(seed, 'expression', i)).expression(1 + (i % 3));
    const template = `${PREAMBLE}{{ ${expression} }}`;
    return { template, messages: [{ role: 'user', content: 'x' }], ...GIVEN, add_generation_prompt: false };
  });
}

export function templateCases(seed: number, count: number): Case[] {
  return Array.from({ length: count }, (_, i) =>
    withConversations(new TemplateGenerator(randomStream(seed, 'template', i)).template()),
  ).flat();
}
