/** Parses expressions, with the precedence of Jinja2 (which is not Python's: `-1|abs` is `(-1)|abs`). */
import type {
  Arguments,
  BinaryOperator,
  Call,
  CompareOperator,
  Expression,
  Filter,
  Target,
} from './nodes.js';
import { TokenReader } from './token-reader.js';
import type { Value } from './values.js';

const CONSTANTS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);

const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);

/** The tokens that may begin the argument of a test without parentheses, as in `x is divisibleby 3`. */
const ARGUMENT_TYPES: ReadonlySet<string> = new Set(['name', 'string', 'integer', 'float', '(', '[', '{']);

interface TupleOptions {
  /** Allow `a if b else c`. Default true. */
  conditions?: boolean;
  /** Inside parentheses, where a tuple may be empty. Default false. */
  parentheses?: boolean;
}

export class ExpressionParser extends TokenReader {
  /** One expression, or a tuple of several that are separated by commas. */
  protected tuple(options: TupleOptions = {}): Expression {
    const { conditions = true, parentheses = false } = options;
    let { line } = this.current;
    const items: Expression[] = [];
    let isTuple = false;
    while (true) {
      if (items.length > 0) this.expect(',');
      if (this.#isTupleEnd()) break;
      items.push(conditions ? this.expression() : this.#or());
      if (this.current.type !== ',') break;
      isTuple = true;
      line = this.current.line;
    }
    const [only] = items;
    if (!isTuple && only !== undefined) return only;
    if (!isTuple && !parentheses) this.fail(`Expected an expression, got '${this.found()}'`);
    return { type: 'tuple', items, line };
  }

  #isTupleEnd(): boolean {
    return ['variable_end', 'block_end', ')'].includes(this.current.type);
  }

  /**
   * A target of `set`, `for` or `with`: a name or a (nested) tuple of names; with `namespace`, also `name.attribute`.
   */
  protected target({ namespace = false } = {}): Target {
    let { line } = this.current;
    const items: Target[] = [];
    let isTuple = false;
    while (true) {
      if (items.length > 0) this.expect(',');
      if (this.#isTupleEnd()) break;
      items.push(this.#oneTarget(namespace));
      if (this.current.type !== ',') break;
      isTuple = true;
      line = this.current.line;
    }
    const [only] = items;
    if (!isTuple && only !== undefined) return only;
    if (!isTuple) this.fail(`Expected an expression, got '${this.found()}'`);
    return { type: 'targets', items, line };
  }

  #oneTarget(namespace: boolean): Target {
    const { type, text: name, line } = this.current;
    if (namespace && type === 'name' && !CONSTANTS.has(name) && this.peek().type === '.') {
      this.next();
      this.next();
      return { type: 'namespace', name, attribute: this.expect('name').text, line };
    }
    return this.#asTarget(this.#primary());
  }

  #asTarget(expression: Expression): Target {
    const { type, line } = expression;
    if (type === 'name') return { ...expression, context: 'store' };
    if (type === 'tuple')
      return { type: 'targets', items: expression.items.map((item) => this.#asTarget(item)), line };
    return this.fail(`can't assign to '${type}'`, line);
  }

  protected expression(): Expression {
    let { line } = this.current;
    let value = this.#or();
    while (this.skipName('if')) {
      const test = this.#or();
      const otherwise = this.skipName('else') ? this.expression() : undefined;
      value = { type: 'condition', test, value, otherwise, line };
      line = this.current.line;
    }
    return value;
  }

  #or(): Expression {
    const { line } = this.current;
    let left = this.#and();
    while (this.skipName('or')) left = { type: 'or', left, right: this.#and(), line };
    return left;
  }

  #and(): Expression {
    const { line } = this.current;
    let left = this.#not();
    while (this.skipName('and')) left = { type: 'and', left, right: this.#not(), line };
    return left;
  }

  #not(): Expression {
    const { line } = this.current;
    if (this.skipName('not')) return { type: 'not', operand: this.#not(), line };
    return this.#compare();
  }

  #compare(): Expression {
    const { line } = this.current;
    const first = this.#sum();
    const rest: { operator: CompareOperator; right: Expression }[] = [];
    while (true) {
      const operator = this.#comparison();
      if (operator === undefined) break;
      rest.push({ operator, right: this.#sum() });
    }
    return rest.length === 0 ? first : { type: 'compare', first, rest, line };
  }

  #comparison(): CompareOperator | undefined {
    if (COMPARISONS.has(this.current.type)) return this.next().type as CompareOperator;
    if (this.skipName('in')) return 'in';
    const after = this.peek();
    if (!this.isName('not') || after.type !== 'name' || after.text !== 'in') return undefined;
    this.next();
    this.next();
    return 'not in';
  }

  #leftToRight(operators: readonly BinaryOperator[], operand: () => Expression): Expression {
    const { line } = this.current;
    let left = operand();
    while (true) {
      const operator = operators.find((one) => one === this.current.type);
      if (operator === undefined) return left;
      this.next();
      left = { type: 'binary', operator, left, right: operand(), line };
    }
  }

  #sum(): Expression {
    return this.#leftToRight(['+', '-'], () => this.#concat());
  }

  #concat(): Expression {
    const { line } = this.current;
    const first = this.#product();
    if (this.current.type !== '~') return first;
    const items = [first];
    while (this.skip('~')) items.push(this.#product());
    return { type: 'concat', items, line };
  }

  #product(): Expression {
    return this.#leftToRight(['*', '/', '//', '%'], () => this.#power());
  }

  #power(): Expression {
    return this.#leftToRight(['**'], () => this.#unary());
  }

  #unary(withFilters = true): Expression {
    const { line } = this.current;
    let node: Expression;
    if (this.skip('-')) node = { type: 'minus', operand: this.#unary(false), line };
    else if (this.skip('+')) node = { type: 'plus', operand: this.#unary(false), line };
    else node = this.#primary();
    node = this.#postfix(node);
    return withFilters ? this.#filtered(node) : node;
  }

  #primary(): Expression {
    const { type, text, number, line } = this.current;
    switch (type) {
      case 'name': {
        this.next();
        const value = CONSTANTS.get(text);
        if (value !== undefined) return { type: 'constant', value, line };
        return { type: 'name', name: text, context: 'load', line };
      }
      case 'string': {
        let value = '';
        while (this.current.type === 'string') value += this.next().text;
        return { type: 'constant', value, line };
      }
      case 'integer':
      case 'float':
        this.next();
        return { type: 'constant', value: number ?? null, line };
      case '(': {
        this.next();
        const inner = this.tuple({ parentheses: true });
        this.expect(')');
        return inner;
      }
      case '[':
        return { type: 'list', items: this.#items(']', () => this.expression()), line };
      case '{': {
        const items = this.#items('}', () => {
          const key = this.expression();
          this.expect(':');
          return { key, value: this.expression() };
        });
        return { type: 'dict', items, line };
      }
      default:
        return this.fail(`unexpected '${this.found()}'`);
    }
  }

  /** Parses the items between brackets, starting at the opening bracket. */
  #items<T>(close: string, item: () => T): T[] {
    this.next();
    const items: T[] = [];
    while (this.current.type !== close) {
      if (items.length > 0) this.expect(',');
      if (this.current.type === close) break;
      items.push(item());
    }
    this.next();
    return items;
  }

  #postfix(expression: Expression): Expression {
    let node = expression;
    while (true) {
      if (this.current.type === '.') node = this.#attribute(node);
      else if (this.current.type === '[') node = this.#subscript(node);
      else if (this.current.type === '(') node = this.#call(node);
      else return node;
    }
  }

  #attribute(object: Expression): Expression {
    const { line } = this.next();
    const token = this.next();
    if (token.type === 'name') return { type: 'attribute', object, name: token.text, line };
    if (token.type !== 'integer') this.fail('expected name or number', token.line);
    const key: Expression = { type: 'constant', value: token.number ?? null, line: token.line };
    return { type: 'item', object, key, line };
  }

  #subscript(object: Expression): Expression {
    const { line } = this.current;
    this.next();
    const keys: Expression[] = [];
    while (this.current.type !== ']') {
      if (keys.length > 0) this.expect(',');
      keys.push(this.#subscribed());
    }
    this.next();
    const [only] = keys;
    if (keys.length === 1 && only !== undefined) return { type: 'item', object, key: only, line };
    if (keys.some(({ type }) => type === 'slice')) this.fail('invalid syntax: a slice within a tuple', line);
    return { type: 'item', object, key: { type: 'tuple', items: keys, line }, line };
  }

  #subscribed(): Expression {
    const { line } = this.current;
    const part = () => ([':', ']', ','].includes(this.current.type) ? undefined : this.expression());
    const start = part();
    if (this.current.type !== ':') return start ?? this.fail(`unexpected '${this.found()}'`);
    this.next();
    const stop = part();
    const step = this.skip(':') ? part() : undefined;
    return { type: 'slice', start, stop, step, line };
  }

  #call(callee: Expression): Call {
    const { line } = this.current;
    return { type: 'call', callee, args: this.#arguments(), line };
  }

  #arguments(): Arguments {
    const { line } = this.expect('(');
    const given: Arguments = { args: [], keywords: [], rest: undefined, restKeywords: undefined };
    const ensure = (allowed: boolean) => {
      if (!allowed) this.fail('invalid syntax for function call expression', line);
    };
    let first = true;
    while (this.current.type !== ')') {
      if (!first) {
        this.expect(',');
        if (this.current.type === ')') break;
      }
      first = false;
      if (this.skip('*')) {
        ensure(given.rest === undefined && given.restKeywords === undefined);
        given.rest = this.expression();
      } else if (this.skip('**')) {
        ensure(given.restKeywords === undefined);
        given.restKeywords = this.expression();
      } else if (this.current.type === 'name' && this.peek().type === '=') {
        ensure(given.restKeywords === undefined);
        const name = this.next().text;
        this.next();
        if (given.keywords.some((keyword) => keyword.name === name)) {
          this.fail(`keyword argument repeated: ${name}`, line);
        }
        given.keywords.push({ name, value: this.expression() });
      } else {
        ensure(given.rest === undefined && given.restKeywords === undefined && given.keywords.length === 0);
        given.args.push(this.expression());
      }
    }
    this.next();
    return given;
  }

  #filtered(expression: Expression): Expression {
    let node = expression;
    while (true) {
      if (this.current.type === '|') node = this.filters(node) ?? node;
      else if (this.isName('is')) node = this.#test(node);
      else if (this.current.type === '(') node = this.#call(node);
      else return node;
    }
  }

  /** Parses any number of `|filter`. With `bare`, the first one is written without its bar. */
  protected filters(input: Expression | undefined, bare = false): Filter | undefined {
    let node = input;
    let last: Filter | undefined;
    for (let first = bare; first || this.current.type === '|'; first = false) {
      if (!first) this.next();
      const { line } = this.current;
      const name = this.#dottedName();
      last = { type: 'filter', input: node, name, args: this.#optionalArguments(), line };
      node = last;
    }
    return last;
  }

  #dottedName(): string {
    let name = this.expect('name').text;
    while (this.skip('.')) name += `.${this.expect('name').text}`;
    return name;
  }

  #optionalArguments(): Arguments {
    if (this.current.type === '(') return this.#arguments();
    return { args: [], keywords: [], rest: undefined, restKeywords: undefined };
  }

  #test(input: Expression): Expression {
    const { line } = this.next();
    const negated = this.skipName('not');
    const name = this.#dottedName();
    const args = this.#optionalArgumentsOfTest();
    const test: Expression = { type: 'test', input, name, args, line };
    return negated ? { type: 'not', operand: test, line } : test;
  }

  #optionalArgumentsOfTest(): Arguments {
    const args = this.current.type === '(' ? this.#arguments() : undefined;
    if (args !== undefined) return args;
    const none = this.#optionalArguments();
    if (!ARGUMENT_TYPES.has(this.current.type)) return none;
    if (['else', 'or', 'and'].some((name) => this.isName(name))) return none;
    if (this.isName('is')) this.fail('You cannot chain multiple tests with is');
    return { ...none, args: [this.#postfix(this.#primary())] };
  }
}
