import { CHATML_TEMPLATE, type ChatMessage, compileChatTemplate } from 'search-r3/tokenizer';
import { describe, expect, test } from 'vitest';

const SYSTEM_AND_USER: ChatMessage[] = [
  { role: 'system', content: 'S' },
  { role: 'user', content: 'U' },
];

interface Given {
  messages?: ChatMessage[];
  variables?: Record<string, string | number | boolean>;
  tokens?: Record<string, string>;
  addGenerationPrompt?: boolean;
}

function render(
  template: string,
  { messages = SYSTEM_AND_USER, tokens = {}, ...options }: Given = {},
): string {
  return compileChatTemplate(template, 'folder/chat_template.jinja', tokens).render(messages, options);
}

// transformers 5.24.0 with Jinja2 3.1.6 rendered the expected texts (tools/oracles/chat_templates.py).
describe('renders as transformers does', () => {
  test('what a turn has written before continue and break stays', () => {
    const turns = (end: string) =>
      "{%- for m in messages %}{%- if m.role == 'system' %}{{- '[system]' + m.content }}" +
      `{%- ${end} %}{%- endif %}{{- '[' + m.role + ']' + m.content }}{%- endfor %}`;
    expect(render(turns('continue'))).toBe('[system]S[user]U');
    expect(render(turns('break'))).toBe('[system]S');
  });

  test.each(['\n', '\r\n', '\r'])('line ends of any kind are line feeds: %j', (end) => {
    const lines = [
      '{% for m in messages %}',
      '<|{{ m.role }}|>{{ m.content }}',
      '{% endfor %}',
      '{% if add_generation_prompt %}',
      '<|assistant|>',
      '{% endif %}',
      '',
    ];
    expect(render(lines.join(end), { addGenerationPrompt: true })).toBe(
      '<|system|>S\n<|user|>U\n<|assistant|>\n',
    );
  });

  test('the fixed date in the format that is asked for', () => {
    expect(render("{{ strftime_now('%Y-%m-%d') }}")).toBe('2024-07-26');
    expect(render("{{ strftime_now('%A, %-d %B %Y, %H:%M:%S, day %j of week %V') }}")).toBe(
      'Friday, 26 July 2024, 00:00:00, day 208 of week 30',
    );
    expect(() => render("{{ strftime_now('%Q') }}")).toThrow(/the directive "%Q" of strftime/);
  });

  test('equality across types', () => {
    const template =
      '{% set sys = messages[0].content %}{% if sys != false %}<<SYS>>{{ sys }}<</SYS>>{% endif %}{{ messages[1].content }}';
    const messages: ChatMessage[] = [
      { role: 'system', content: '' },
      { role: 'user', content: 'q' },
    ];
    expect(render(template, { messages })).toBe('<<SYS>><</SYS>>q');
    const comparisons =
      "{{ [] == [] }} {{ '' == false }} {{ 0 == false }} {{ 1 == 1.0 }} {{ none == false }} {{ '1' == 1 }} " +
      "{{ {'a': [1]} == {'a': [1.0]} }} {{ (1,) == [1] }} {{ unknown == none }}";
    expect(render(comparisons)).toBe('True False True True False False True False False');
  });

  test('strip takes the characters that it is given', () => {
    const messages: ChatMessage[] = [{ role: 'user', content: '  a b \n\n' }];
    const methods =
      "{% for m in messages %}[{{ m.content.strip('\\n') }}][{{ m.content.lstrip() }}]{% endfor %}";
    expect(render(methods, { messages })).toBe('[  a b ][a b \n\n]');
    expect(render("{{ 'xaxbx'.rstrip('x') }}|{{ '😀a😀'.strip('😀') }}|{{ 'a\\n'|trim }}")).toBe('xaxb|a|a');
  });

  test('tools and documents are None, and special tokens are there only where they are set', () => {
    expect(render('{% if tools is not none %}tools{% endif %}{{ messages[0].content }}')).toBe('S');
    const undefinedToo =
      '{%- if not tools is defined %}{%- set tools = [] %}{%- endif %}{%- if tools is not none %}tools{%- endif %}{{ messages[0].content }}';
    expect(render(undefinedToo)).toBe('S');
    expect(render('{% if documents is none %}no documents{% else %}documents{% endif %}')).toBe(
      'no documents',
    );
    const tokens = '{{ bos_token }}|{{ pad_token is defined }}|{{ eos_token }}';
    expect(render(tokens, { tokens: { bos_token: '<s>' } })).toBe('<s>|False|');
  });

  test('variables: whole numbers are ints', () => {
    const template = '{{ level }} {{ share }} {{ thinking }} {{ level / 2 }}';
    expect(render(template, { variables: { level: 3, share: 0.5, thinking: false } })).toBe(
      '3 0.5 False 1.5',
    );
  });

  test('messages lose fields that are null, and reasoning has both of its names', () => {
    const messages = [
      { role: 'assistant', content: 'a', name: null, reasoning: 'why' },
    ] as unknown as ChatMessage[];
    const template =
      '{{ messages[0].name is defined }} {{ messages[0].reasoning_content }} {{ messages[0].thinking }}';
    expect(render(template, { messages })).toBe('False why why');
  });

  test('values print as Python prints them', () => {
    const template =
      "{{ [none, true, 1.0, 1e16, 'it\\'s', \"q\\\"\", {'k': (1,)}] }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** 70 }} {{ 0.1 + 0.2 }}";
    expect(render(template)).toBe(
      "[None, True, 1.0, 1e+16, \"it's\", 'q\"', {'k': (1,)}] -4 2 1180591620717411303424 0.30000000000000004",
    );
    expect(
      render("{{ '😀é'|length }} {{ 'a😀b'[1] }} {{ 'a😀b'[::-1] }} {{ '%5.1f|%-3d|%s' % (2.25, 4, none) }}"),
    ).toBe('2 😀 b😀a   2.2|4  |None');
    expect(render('{{ {"b": 1.0, "a": ["<é>", none]}|tojson(indent=1) }}')).toBe(
      '{\n "b": 1.0,\n "a": [\n  "<é>",\n  null\n ]\n}',
    );
  });

  test('scopes: a loop forgets what it set, a namespace does not', () => {
    const template =
      '{% set x, ns = 0, namespace(x=0) %}{% for m in messages %}{% set x = x + 1 %}{% set ns.x = ns.x + 1 %}{{ x }}{% endfor %}' +
      '|{{ x }}{{ ns.x }}{% generation %}{% set x = 9 %}{{ x }}{% endgeneration %}{{ x }}';
    expect(render(template)).toBe('11|0290');
  });
});

describe('what can not be rendered is refused with its line', () => {
  test.each<[string, string, RegExp]>([
    [
      'a tag that is not closed',
      'a\n{% if x %}\nb',
      /jinja: line 3: expected a Jinja template, found Unexpected end .* 'if'/,
    ],
    ['an unknown tag', '{# \n #}\n{% trans %}', /line 3: .* Encountered unknown tag 'trans'/],
    ['an expression that breaks off', '{{ 1 +\n}}', /line 2: .* unexpected 'end of print statement'/],
    ['a filter that does not exist', '\n\n{{ x|nothing }}', /line 3: .* No filter named 'nothing'/],
    ['break outside of a loop', '\n{% break %}', /line 2: .* 'break' outside loop/],
    ['brackets that do not match', '{{ (1] }}', /line 1: .* unexpected '\]', expected '\)'/],
    ['brackets nested without end', `{{ ${'('.repeat(100_000)}`, /line 1: .* too much work for a template/],
    ['autoescape', '{% autoescape true %}{% endautoescape %}', /line 1: .* autoescape is not supported/],
  ])('%s', (_, template, message) => {
    expect(() => render(template)).toThrow(message);
  });

  test.each<[string, string, RegExp]>([
    [
      'an attribute of what is undefined',
      'a\n{{ x.y }}',
      /line 2: expected a chat template that takes these messages, found 'x' is undefined/,
    ],
    [
      'an exception of the template',
      "\n{% if messages %}\n{{ raise_exception('no system role') }}\n{% endif %}",
      /line 3: .* found no system role/,
    ],
    [
      'changing a list',
      '{{ messages.append(1) }}',
      /line 1: .* access to attribute 'append' of 'list' object is unsafe/,
    ],
    ['comparing across types', "{{ 1 < 'a' }}", /'<' not supported between instances of 'int' and 'str'/],
    ['adding across types', "{{ 'a' + 1 }}", /unsupported operand type\(s\) for \+: 'str' and 'int'/],
    ['another template', "{% include 'a' %}", /there are no other templates for "include" to load/],
    [
      'recursion without end',
      '{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}',
      /maximum recursion depth exceeded/,
    ],
    ['a range that is too long', '{{ range(100001) }}', /Range too big/],
    [
      'a text that is too long',
      "{{ 'ab' * 999999999 }}",
      /a sequence of 1999999998 items, which is not supported/,
    ],
    [
      'an address in memory',
      "{{ messages|map('upper') }}",
      /the text of a generator is its address in memory, which is not supported/,
    ],
    ['random text', '{{ lipsum() }}', /lipsum writes random text, which is not supported/],
  ])('%s', (_, template, message) => {
    expect(() => render(template)).toThrow(message);
  });

  test('a chat without messages', () => {
    expect(() => render(CHATML_TEMPLATE, { messages: [] })).toThrow(
      /chat: expected at least one message, found none/,
    );
  });
});
