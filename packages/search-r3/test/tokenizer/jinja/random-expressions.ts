/** Random expressions of Jinja2, most of them of types that fit. */
import type { RandomStream } from 'search-r3/run';

/** Variables that the expressions use. */
export const PREAMBLE =
  "{% set word, phrase, odd = 'Hello', ' the quick\\tbrown  fox ', 'Ünï 😀 ß\\n\"q\\'s' %}" +
  '{% set three, minus, half, big = 3, -7, 2.5, 12345678901234567890 %}' +
  "{% set numbers, names, mixed = [3, 1, 2, 1], ['b', 'a', 'C', 'b'], [1, 'x', none, true, 2.0, [1], {'k': 1}] %}" +
  "{% set user = {'name': 'Ann', 'age': 41, 'tags': ['x', 'y'], 'items': 1, 'none': none} %}" +
  "{% set users = [user, {'name': 'bob', 'age': 7, 'tags': []}, {'name': 'Cy', 'age': 7, 'tags': ['z']}] %}" +
  '{% set pair, nothing, empty = (1, "two"), none, "" %}{% set ns = namespace(count=2, text="t") %}';

type Kind = 'string' | 'int' | 'float' | 'bool' | 'list' | 'dict' | 'any';

const STRINGS = [
  "'a'",
  "''",
  "'Hello World'",
  "'x,y,,z'",
  "'  pad '",
  "'aXbXc'",
  "'12'",
  "'-3.50'",
  "'é😀z'",
  "'<b>&\"'",
  "'line\\nnext\\r\\nlast'",
  "'it\\'s'",
  "'%s-%s'",
  "'{}{}'",
  "'ABC'",
  "'\\t\\x00\\u00e9'",
  "'a' 'b'",
];
const INTS = [
  '0',
  '1',
  '2',
  '-1',
  '7',
  '10',
  '1_000',
  '0x1f',
  '255',
  'big',
  'three',
  'minus',
  'loop_free',
  'numbers|length',
  'ns.count',
];
const FLOATS = ['0.5', '1.0', '-2.25', '1e3', '1e16', '1.5e-7', '2.675', '0.1', 'half', '3.0'];
const COLLECTIONS = {
  list: [
    'numbers',
    'names',
    'mixed',
    '[]',
    '[1, 2]',
    "['x']",
    'users',
    'pair',
    '(1,)',
    '()',
    '[[1, 2], [3]]',
    'user.tags',
    'range(4)|list',
    "'a b c'.split()",
  ],
  dict: [
    'user',
    '{}',
    "{'a': 1, 'b': 'two'}",
    "{1: 'x', true: 'y', 'z': 1.0}",
    'dict(a=1, b=[2])',
    'users[0]',
    "{'b': 1, 'a': {'c': none}}",
  ],
};
const NAMES = [
  'word',
  'phrase',
  'odd',
  'three',
  'nothing',
  'empty',
  'unknown',
  'user',
  'pair',
  'mixed',
  'ns',
  'user.missing',
  'true',
  'none',
  'False',
];

export class ExpressionGenerator {
  constructor(private readonly random: RandomStream) {}

  expression(depth: number, kind: Kind = 'any'): string {
    const actual =
      kind === 'any'
        ? this.random.choice<Kind>(['string', 'string', 'int', 'float', 'bool', 'list', 'dict', 'any'])
        : kind;
    // Now and then something of another type: what then happens must be the same too.
    const wanted = this.random.uniform() < 0.05 ? 'any' : actual;
    if (depth <= 0) return this.#leaf(wanted);
    return `${this.#compound(depth - 1, wanted)}`;
  }

  #leaf(kind: Kind): string {
    switch (kind) {
      case 'string':
        return this.random.choice([
          ...STRINGS,
          'word',
          'phrase',
          'odd',
          'empty',
          'user.name',
          "user['name']",
        ]);
      case 'int':
        return this.random.choice(INTS).replace('loop_free', '4');
      case 'float':
        return this.random.choice(FLOATS);
      case 'bool':
        return this.random.choice(['true', 'false', 'True', 'unknown is defined', '1 == 1.0', "'' == false"]);
      case 'list':
      case 'dict':
        return this.random.choice(COLLECTIONS[kind]);
      case 'any':
        return this.random.choice([
          ...NAMES,
          ...STRINGS.slice(0, 4),
          ...INTS.slice(0, 5),
          ...FLOATS.slice(0, 3),
          ...COLLECTIONS.list.slice(0, 6),
          ...COLLECTIONS.dict.slice(0, 3),
        ]);
      default:
        return kind satisfies never;
    }
  }

  #compound(depth: number, kind: Kind): string {
    const sub = (of: Kind = 'any') => this.expression(depth - this.random.integer(2), of);
    const op = (of: Kind) => `(${sub(of)})`;
    const shared = [
      () => `(${sub(kind)})`,
      () => `(${sub(kind)} if ${sub()} else ${sub(kind)})`,
      () => `(${sub(kind)} or ${sub(kind)})`,
      () => `(${sub()} and ${sub(kind)})`,
      () => `(${sub()}|default(${sub(kind)}${this.random.choice(['', ', true'])}))`,
    ];
    return this.random.choice([...shared, ...this.#ofKind(kind, sub, op), ...this.#ofKind(kind, sub, op)])();
  }

  #ofKind(kind: Kind, sub: (of?: Kind) => string, op: (of: Kind) => string): (() => string)[] {
    const index = () => this.random.choice(['0', '1', '2', '-1', '-2', '5', 'three']);
    const bound = () => this.random.choice(['', '1', '2', '-1', '-3', '0', '9']);
    const slice = () =>
      `[${bound()}:${bound()}${this.random.choice(['', '', ':2', ':-1', ':-2', ':1', ':'])}]`;
    const text = () =>
      this.random.choice(["' '", "'a'", "','", "'X'", "'lo'", "'l'", "'\\n'", "'😀'", "'é'", "'xyz '"]);
    const attribute = () =>
      this.random.choice(["'name'", "'age'", "'tags'", "'tags.0'", "'missing'", "'name.0'", '0']);
    const test = () =>
      this.random.choice([
        'odd',
        'even',
        'string',
        'number',
        'none',
        'defined',
        'mapping',
        'sequence',
        'iterable',
        'integer',
        'float',
        'boolean',
        'lower',
        'upper',
        'callable',
        'undefined',
        'true',
        'false',
      ]);
    switch (kind) {
      case 'string':
        return [
          () =>
            `${op('string')}.${this.random.choice(['upper', 'lower', 'title', 'capitalize', 'swapcase', 'strip', 'lstrip', 'rstrip'])}()`,
          () =>
            `${op('string')}.${this.random.choice(['strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix'])}(${text()})`,
          () =>
            `${op('string')}.${this.random.choice(['ljust', 'rjust', 'center'])}(${this.random.choice(['0', '7', '12'])}${this.random.choice(['', ", '*'"])})`,
          () =>
            `${op('string')}.replace(${text()}, ${text()}${this.random.choice(['', ', 1', ', 2', ', 0', ', -1'])})`,
          () =>
            `${op('string')}.${this.random.choice(['zfill(6)', 'expandtabs(4)', 'expandtabs()', 'zfill(0)'])}`,
          () => `${text()}.join(${sub('list')}|map('string'))`,
          () => `${op('list')}|join(${text()}${this.random.choice(['', '', ", attribute='name'"])})`,
          () => `${op('any')} ~ ${op('any')}`,
          () => `${op('string')} + ${op('string')}`,
          () => `${op('string')} * ${this.random.choice(['2', '0', '-1', '3'])}`,
          () => `${op('string')}${slice()}`,
          () => `${op('string')}[${index()}]`,
          () => `${op('any')}|string`,
          () =>
            `${op('any')}|${this.random.choice(['upper', 'lower', 'title', 'capitalize', 'trim', "trim('a ')", "replace('a', 'bb')", "replace('', '-', 2)", 'wordcount', 'center(9)'])}`,
          () =>
            `${op('string')}|${this.random.choice(['truncate(5)', "truncate(8, true, '..', 0)", 'truncate(9, leeway=0)', 'indent', 'indent(2, true)', "indent('> ', true, true)", 'reverse', 'urlencode', 'striptags', "format('p', 'q')", "format('p')"])}`,
          () =>
            `${op('any')}|tojson${this.random.choice(['', '(indent=2)', "(separators=(',', ':'))", '(ensure_ascii=true)', '(sort_keys=true)', '(indent=4, sort_keys=true)'])}`,
          () => `'${this.random.choice(['%s', '%r', '[%5s]', '%-6s|', '%.2s', '%%%s'])}' % ${op('any')}`,
          () =>
            `'${this.random.choice(['%d', '%5d', '%05d', '%+d', '%x', '%X', '%o', '%i', '%#x', '% d', '%c'])}' % ${op('int')}`,
          () =>
            `'${this.random.choice(['%.2f', '%8.3f', '%e', '%g', '%.0f', '%G', '%+.1f', '%.3e', '%010.4f'])}' % ${op(this.random.choice(['float', 'int']))}`,
          () => `'%s and %s' % (${sub()}, ${sub()})`,
          () => `'%(name)s is %(age)d' % ${op('dict')}`,
          () =>
            `'${this.random.choice(['{} {}', '{0}{1}{0}', '{:>8}|{:<6}', '{!r} {!s}', '{0!r:>10}', '{:^9}', '{:*^9}', '{{{}}}'])}'.format(${sub()}, ${sub()})`,
          () =>
            `'${this.random.choice(['{:d}', '{:05d}', '{:,}', '{:x}', '{:+}', '{:#x}', '{:b}', '{:_}', '{:>6}', '{:e}', '{:.1%}'])}'.format(${sub('int')})`,
          () =>
            `'${this.random.choice(['{:.2f}', '{:8.1f}', '{:g}', '{:.3}', '{}', '{:,.2f}', '{:e}', '{:%}', '{:<8}|', '{:08.2f}'])}'.format(${sub('float')})`,
          () => `'{u[name]} {u.age} {n[0]}'.format(u=${sub('dict')}, n=${sub('list')})`,
          () => `${op('int')}|filesizeformat${this.random.choice(['', '(true)'])}`,
        ];
      case 'int':
        return [
          () => `${op('int')} ${this.random.choice(['+', '-', '*', '//', '%'])} ${op('int')}`,
          () => `${op('int')} ** ${this.random.choice(['0', '1', '2', '3'])}`,
          () => `-${op('int')}`,
          () =>
            `${op('string')}.${this.random.choice(['find', 'rfind', 'count', 'index'])}(${text()}${this.random.choice(['', ', 1', ', 1, 4', ', -3'])})`,
          () => `${op(this.random.choice(['string', 'list', 'dict']))}|length`,
          () =>
            `${op('list')}|${this.random.choice(['count', "sum(attribute='age')", 'first', 'last', 'max', 'min'])}`,
          () => `${op('list')}.${this.random.choice(['count(1)', 'index(1)', "index('b')", "count('b')"])}`,
          () => `${op('any')}|int${this.random.choice(['', '(5)', '(default=-1)', '(0, 16)'])}`,
          () => `${op('int')}|abs`,
          () => `${op('int')}|round`,
          () =>
            `[1, ${sub('int')}, ${sub('int')}]|${this.random.choice(['sum', 'max', 'min', 'sum(start=10)'])}`,
        ];
      case 'float':
        return [
          () =>
            `${op('float')} ${this.random.choice(['+', '-', '*', '/', '//', '%'])} ${op(this.random.choice(['float', 'int']))}`,
          () => `${op('int')} / ${op('int')}`,
          () =>
            `${op('float')}|round${this.random.choice(['', '(1)', '(2)', "(1, 'floor')", "(0, 'ceil')", '(-1)'])}`,
          () => `${op('any')}|float${this.random.choice(['', '(1.5)'])}`,
          () => `-${op('float')}`,
          () => `${op('float')} ** 2`,
        ];
      case 'bool':
        return [
          () => `${op('any')} ${this.random.choice(['==', '!='])} ${op('any')}`,
          () =>
            `${op('int')} ${this.random.choice(['<', '<=', '>', '>='])} ${op(this.random.choice(['int', 'float']))}`,
          () => `${op('string')} ${this.random.choice(['<', '>=', '=='])} ${op('string')}`,
          () => `${op('int')} < ${op('int')} <= ${op('float')}`,
          () => `${op('list')} ${this.random.choice(['<', '>', '=='])} ${op('list')}`,
          () => `${op('any')} ${this.random.choice(['in', 'not in'])} ${op('list')}`,
          () =>
            `${op('string')} ${this.random.choice(['in', 'not in'])} ${op(this.random.choice(['string', 'dict', 'list']))}`,
          () => `not ${op('any')}`,
          () => `${op('any')} is ${this.random.choice(['', 'not '])}${test()}`,
          () =>
            `${op('int')} is ${this.random.choice(['divisibleby 2', 'divisibleby(3)', 'eq 3', 'gt 2', 'lt(5)', 'in [1, 2]', 'odd and true', 'ne 1'])}`,
          () =>
            `${op('string')}.${this.random.choice(['startswith', 'endswith'])}(${this.random.choice([text(), `(${text()}, ${text()})`])}${this.random.choice(['', ', 1'])})`,
          () =>
            `${op('string')}.${this.random.choice(['isdigit', 'isalpha', 'isalnum', 'isupper', 'islower', 'isspace', 'istitle', 'isnumeric', 'isidentifier', 'isascii', 'isdecimal', 'isprintable'])}()`,
          () => `${op('any')} is sameas ${this.random.choice(['none', 'true', 'false'])}`,
          () =>
            `${this.random.choice(["'upper'", "'nope'", "'odd'"])} is ${this.random.choice(['filter', 'test'])}`,
        ];
      case 'list':
        return [
          () => `[${sub()}, ${sub()}]`,
          () => `(${sub()}, ${sub()})`,
          () => `${op('list')} + ${op('list')}`,
          () => `${op('list')}${slice()}`,
          () => `${op('list')} * ${this.random.choice(['2', '0', '1'])}`,
          () =>
            `${op('string')}.split(${this.random.choice(['', text(), `${text()}, 1`, 'none, 1', `${text()}, -1`, 'maxsplit=1'])})`,
          () => `${op('string')}.rsplit(${this.random.choice(['', text(), `${text()}, 1`, 'none, 1'])})`,
          () =>
            `${op('string')}.${this.random.choice(['splitlines()', 'splitlines(true)', "partition(' ')", "rpartition('l')", "partition('X')"])}`,
          () => `${op(this.random.choice(['list', 'dict', 'string']))}|list`,
          () =>
            `${op('list')}|sort${this.random.choice(['', '(reverse=true)', '(case_sensitive=true)', "(attribute='age')", "(attribute='age,name')"])}`,
          () => `${op('list')}|reverse|list`,
          () => `${op('list')}|unique|list`,
          () =>
            `${op('list')}|map(${this.random.choice(["'upper'", "'string'", "'length'", `attribute=${attribute()}`, `attribute=${attribute()}, default='d'`, "'default', 'x'", "'replace', 'a', 'o'"])})|list`,
          () =>
            `${op('list')}|${this.random.choice(['select', 'reject'])}(${this.random.choice(['', `'${test()}'`, "'eq', 1", "'gt', 1", "'in', [1, 'b']"])})|list`,
          () =>
            `users|${this.random.choice(['selectattr', 'rejectattr'])}(${attribute()}${this.random.choice(['', ", 'defined'", ", 'eq', 7", ", 'string'"])})|map(attribute='name')|list`,
          () =>
            `${op('list')}|${this.random.choice(['batch(2)', "batch(3, 'f')", 'slice(2)', "slice(3, 'f')"])}|list`,
          () =>
            `${op('dict')}.${this.random.choice(['items', 'keys', 'values'])}()${this.random.choice(['', '|list'])}`,
          () =>
            `${op('dict')}|${this.random.choice(['items|list', 'dictsort', "dictsort(by='value')", 'dictsort(reverse=true)', 'dictsort(true)'])}`,
          () => `users|groupby(${attribute()}${this.random.choice(['', ", default='d'"])})`,
          () =>
            `range(${this.random.choice(['3', '1, 4', '5, 0, -2', '0', '2, 2'])})${this.random.choice(['', '|list', slice()])}`,
        ];
      case 'dict':
        return [
          () =>
            `{${sub('string')}: ${sub()}, ${sub(this.random.choice(['string', 'int', 'float']))}: ${sub()}}`,
          () => `dict(${sub('dict')}, extra=${sub()})`,
          () => `users[${this.random.choice(['0', '1', '-1'])}]`,
          () => `${op('dict')}.copy()`,
          () => `dict(${sub('dict')}.items())`,
        ];
      case 'any':
        return [
          () =>
            `${op('dict')}.${this.random.choice(['name', 'age', 'items', 'missing', 'none', 'get', 'pop', 'a'])}`,
          () =>
            `${op('dict')}[${this.random.choice(["'name'", "'missing'", "'items'", "'keys'", '1', '1.0', 'true', 'none'])}]`,
          () =>
            `${op('dict')}.get(${this.random.choice(["'name'", "'missing'", "'missing', 3", "'none', 1"])})`,
          () => `${op('list')}[${index()}]`,
          () => `${op('list')}|${this.random.choice(['first', 'last', 'max', 'min', 'sum'])}`,
          () =>
            `${op('any')}.${this.random.choice(['foo', 'upper', '__class__', 'real', '_x', 'append', 'start'])}`,
          () => `${op('any')}|attr(${this.random.choice(["'name'", "'upper'", "'keys'"])})`,
          () =>
            `${op('any')} ${this.random.choice(['+', '-', '*', '/', '//', '%', '<', '>=', 'in', '~', '**'])} ${op('any')}`,
          () => `(${sub()} if ${sub('bool')})`,
          () =>
            `${op('any')}|${this.random.choice(['length', 'first', 'list', 'abs', 'round', 'items', 'sort', 'e', 'safe', 'xmlattr', 'tojson'])}`,
          () => `${op('any')}${slice()}`,
          () => `${op('any')} is ${this.random.choice(['eq', 'lt', 'in', 'divisibleby'])} ${op('any')}`,
          () => `ns.${this.random.choice(['count', 'text', 'missing'])}`,
        ];
      default:
        return [() => kind satisfies never];
    }
  }
}
