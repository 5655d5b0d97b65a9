/** Random chat templates with every statement of Jinja2, whose few names shadow each other. */
import type { RandomStream } from 'search-r3/run';
import { ExpressionGenerator, PREAMBLE } from './random-expressions.js';

interface Where {
  inLoop: boolean;
  /** Names of macros that can be called. */
  macros: readonly string[];
  /** `caller` is there. */
  caller: boolean;
  topLevel: boolean;
}

const NAMES = ['x', 'y', 'm', 'content', 'item', 'found'];

export class TemplateGenerator {
  readonly #expressions: ExpressionGenerator;
  #blocks = 0;
  #macros = 0;
  constructor(private readonly random: RandomStream) {
    this.#expressions = new ExpressionGenerator(random);
  }

  template(): string {
    const top: Where = { inLoop: false, macros: [], caller: false, topLevel: true };
    const parts = [
      PREAMBLE.replaceAll('%}{%', `%}${this.#one(['', '\n'])}{%`),
      this.#body(top, 3),
      this.#turns(top),
      this.#body(top, 2),
    ];
    const text = parts.join(this.#one(['', '\n', '\n\n']));
    const lineEnd = this.#one(['\n', '\n', '\n', '\r\n', '\r']);
    return text.replaceAll('\n', lineEnd) + this.#one(['', '', '\n', '\n\n']).replaceAll('\n', lineEnd);
  }

  #one<T>(items: readonly T[]): T {
    return this.random.choice(items);
  }

  #chance(share: number): boolean {
    return this.random.uniform() < share;
  }

  /** The loop over the messages that every chat template has. */
  #turns(where: Where): string {
    const inner = { ...where, inLoop: true, topLevel: false };
    return (
      this.#tag('for m in messages') +
      this.#one(
        [
          '',
          "{%- if m['role'] == 'system' %}",
          "{% if loop.first and m.role != 'user' -%}",
          '{% if not loop.last %}',
        ].map((open) => (open === '' ? '' : `${open}${this.#body(inner, 1)}{% endif %}`)),
      ) +
      `<|{{ m.role }}|>${this.#one(['', '\n', '  \n'])}{{ ${this.#one(['m.content', "m['content']", 'm.content | trim', "m.content.split('</think>')[-1].lstrip('\\n')", "m.content|replace('a', 'b')", "m.get('content', '')"])} }}${this.#one(['\n', '<|end|>\n', ''])}` +
      this.#body(inner, 2) +
      this.#tag('endfor') +
      "{% if add_generation_prompt %}<|assistant|>{{ '\\n' }}{% endif %}"
    );
  }

  /** A tag with some white space control and white space around it. */
  #tag(content: string): string {
    const before = this.#one(['', '', '', '\n', '  ', '\n    ', '\t']);
    const after = this.#one(['', '', '', '\n', ' ', '\n\n', '  \n']);
    const colon = content.startsWith('for') && this.#chance(0.03) ? ':' : '';
    return `${before}{%${this.#one(['', '', '', '-', '-', '+'])} ${content}${colon} ${this.#one(['', '', '', '-', '-', '+'])}%}${after}`;
  }

  #print(expression: string): string {
    return `{{${this.#one(['', '', '-'])} ${expression} ${this.#one(['', '', '-'])}}}`;
  }

  #value(depth = 1): string {
    const names = this.#one([
      ...NAMES,
      'ns.count',
      'm.role if m is mapping',
      'messages',
      'messages[0].role',
      'messages[0].content',
      "'a' * 2",
      '3',
      '[x, y]',
      'messages|length',
      'tools',
      'bos_token',
      'pad_token',
      'add_generation_prompt',
      'mode',
      'level',
      'varargs',
      'kwargs',
      'messages[::-1]',
    ]);
    return this.#chance(0.5) ? names : this.#expressions.expression(depth);
  }

  /** An expression that prints well. */
  #shown(where: Where): string {
    const loop = [
      'loop.index',
      'loop.index0',
      'loop.revindex',
      'loop.revindex0',
      'loop.first',
      'loop.last',
      'loop.length',
      "loop.cycle('a', 'b', 'c')",
      'loop.changed(x)',
      'loop.previtem',
      'loop.nextitem',
      'loop.depth',
      'loop.depth0',
      'loop',
    ];
    const name = this.#one(NAMES);
    const options = [
      () => name,
      () => `${name} is defined`,
      () => `${name}|default('-')`,
      () => `'[' ~ ${this.#value(0)} ~ ']'`,
      () => this.#expressions.expression(2),
      () => this.#value(),
      () => `${this.#value()}|default(none)|tojson${this.#one(['', '(indent=2)'])}`,
      () => `strftime_now('${this.#one(['%Y-%m-%d', '%d %b %Y', '%B %-d, %H:%M', '%A %j'])}')`,
      ...(where.inLoop ? loop.map((one) => () => one) : []),
      ...where.macros.flatMap((macro) => [
        () =>
          `${macro}(${this.#one(['', this.#value(0), `${this.#value(0)}, ${this.#value(0)}`, `b=${this.#value(0)}`, `1, 2, 3, k=${this.#value(0)}`, '*pair', '**user'])})`,
      ]),
      ...(where.caller ? [() => `caller(${this.#one(['', '1', "'c', 2"])})`] : []),
    ];
    return this.#one(options)();
  }

  #body(where: Where, depth: number): string {
    const count = 1 + this.random.integer(depth > 1 ? 4 : 2);
    let current = where;
    let text = '';
    for (let i = 0; i < count; i++) {
      const [piece, macro] = this.#piece(current, depth);
      text += piece;
      if (macro !== undefined) current = { ...current, macros: [...current.macros, macro] };
    }
    return text;
  }

  #data(): string {
    return this.#one([
      'text',
      ' ',
      '\n',
      '\n\n',
      '  line\n  ',
      'a\tb',
      '<|x|>\n',
      '{ }',
      '%}',
      '}}',
      '# no',
      "it's",
      'é😀',
    ]);
  }

  #set(): string {
    return this.#one([
      `set ${this.#one(NAMES)} = ${this.#value()}`,
      `set ${this.#one(NAMES)} = ${this.#one(NAMES)}`,
      `set x, y = ${this.#one(['y, x', '1, 2', 'pair', `${this.#value(0)}, ${this.#value(0)}`])}`,
      `set ns.count = ${this.#one(['ns.count + 1', this.#value()])}`,
      `set ns.${this.#one(['text', 'other'])} = ${this.#value()}`,
      'set (x, y) = 1, 2',
      'set ns.count, ns.text = 5, x',
    ]);
  }

  #piece(where: Where, depth: number): [string, string?] {
    const inner = { ...where, topLevel: false };
    const loops = { ...inner, inLoop: true };
    const body = (at: Where = inner) => this.#body(at, depth - 1);
    const simple: (() => string)[] = [
      () => this.#data(),
      () => this.#print(this.#shown(where)),
      () => this.#print(this.#shown(where)),
      () => this.#tag(this.#set()),
      () => this.#tag(this.#set()),
      () =>
        `{#${this.#one(['', '-', '+'])} ${this.#one(['note', '{{ x }}', '{% if %}', 'two\nlines'])} ${this.#one(['', '-', '+'])}#}${this.#one(['', '\n'])}`,
      () =>
        `{%${this.#one(['', '-'])} raw ${this.#one(['', '-'])}%}${this.#one([' {{ x }} ', '\n{% if %}\n', '{# #}'])}{%${this.#one(['', '-', '+'])} endraw ${this.#one(['', '-', '+'])}%}${this.#one(['', '\n'])}`,
      () => this.#tag(`print ${this.#shown(where)}, ${this.#value(0)}`),
      ...(where.inLoop
        ? [
            () =>
              `{% if ${this.#one(['loop.index == 2', 'x', "m == 'a'", 'loop.last', 'item is odd'])} %}${this.#data()}${this.#tag(this.#one(['break', 'continue']))}{% endif %}`,
          ]
        : []),
      ...(where.macros.length > 0
        ? [
            () =>
              this.#tag(
                `call${this.#one(['', '', '(p)', '(p, q=3)'])} ${this.#one(where.macros)}(${this.#one(['', '1', 'x'])})`,
              ) +
              this.#body({ ...inner, inLoop: false }, 1) +
              this.#tag('endcall'),
          ]
        : []),
    ];
    if (depth <= 1) return [this.#one(simple)()];
    const name = this.#one(NAMES);
    const nested: (() => [string, string?])[] = [
      () => [
        this.#tag(`if ${this.#value()}`) +
          body() +
          (this.#chance(0.4) ? this.#tag(`elif ${this.#value()}`) + body() : '') +
          (this.#chance(0.5) ? this.#tag('else') + body() : '') +
          this.#tag('endif'),
      ],
      () => [this.#loop(name, loops, body)],
      () => [this.#loop(name, loops, body)],
      () => [
        this.#tag(
          `set ${this.#one([name, name, 'ns.text'])}${this.#one(['', '', ' | upper', ' | trim | indent(2)', " | replace('a', x)"])}`,
        ) +
          body() +
          this.#tag('endset'),
      ],
      () => [
        this.#tag(`with ${this.#one(['', `x = ${this.#value()}`, 'x = y, y = x', 'x, y = pair'])}`) +
          body() +
          this.#tag('endwith'),
      ],
      () => [
        this.#tag(
          `filter ${this.#one(['upper', 'trim', "replace('e', x|string)", 'indent(2)|upper', 'length', 'title'])}`,
        ) +
          body() +
          this.#tag('endfilter'),
      ],
      () => [this.#tag('generation') + body({ ...inner, inLoop: false }) + this.#tag('endgeneration')],
      () => {
        const macro = `f${this.#macros++}`;
        const parameters = this.#one([
          '',
          'a',
          'a, b=1',
          'a, b=x, c=a',
          'x',
          'm, y=none',
          "a='d', caller=none",
        ]);
        const extra = this.#one([
          '',
          '',
          '{{ varargs }}',
          '{{ kwargs }}',
          '{{ a }}{{ b }}',
          '{{ caller is defined }}',
        ]);
        const inside = { ...inner, inLoop: false, macros: where.macros, caller: this.#chance(0.4) };
        return [
          this.#tag(`macro ${macro}(${parameters})`) + extra + body(inside) + this.#tag('endmacro'),
          macro,
        ];
      },
      () => [
        this.#tag(`block b${this.#blocks++}${this.#one(['', ' scoped'])}`) +
          body({ ...inner, inLoop: false, macros: [] }) +
          this.#tag('endblock'),
      ],
      () => [
        `{% for item in [${this.#value(0)}, [1, [2]], 3] recursive %}${this.#print(this.#one(['loop.depth', 'item', 'loop.index']))}{% if item is sequence and item is not string and item is not mapping %}({{ loop(item) }}){% endif %}{% endfor %}`,
      ],
      () => [
        `{% if ${this.#one(['false', 'nothing', 'empty'])} %}${this.#one(["{% include 'a' %}", '{{ x|nofilter }}', "{{ raise_exception('no') }}", "{% import 'a' as b %}", '{{ x is notest }}', '{{ unknown.a.b }}'])}{% endif %}`,
      ],
    ];
    return this.#chance(0.5) ? [this.#one(simple)()] : this.#one(nested)();
  }

  #loop(name: string, loops: Where, body: (where?: Where) => string): string {
    const target = this.#one([name, name, name, 'x, y', '(x, y)', 'x, item']);
    const items = target.includes(',')
      ? this.#one([
          'user.items()',
          'user|items',
          '[(1, 2), (3, 4)]',
          "['ab', 'cd']",
          'user|dictsort',
          '[[1, 2]]|list',
          'users|groupby("age")',
        ])
      : this.#one([
          '[1, 2, 3]',
          'messages',
          'numbers',
          'range(3)',
          "'abc'",
          'users',
          'names|sort',
          '[]',
          'unknown',
          this.#expressions.expression(1, 'list'),
          'messages[1:]',
          "names|map('upper')",
          'user',
        ]);
    const test = this.#one([
      '',
      '',
      '',
      ` if ${this.#one([name, 'x', `${name} != 1`, 'x is defined', 'y'])}`,
    ]);
    const otherwise = this.#chance(0.25) ? this.#tag('else') + body({ ...loops, inLoop: false }) : '';
    return this.#tag(`for ${target} in ${items}${test}`) + body(loops) + otherwise + this.#tag('endfor');
  }
}
