/** Jinja2's own objects: namespace, cycler, joiner, and `loop`. */
import { builtin } from './arguments.js';
import { Dict, iterate, Tuple } from './containers.js';
import { equal } from './equality.js';
import { raise, unsupported } from './errors.js';
import { repr } from './repr.js';
import { lengthOf } from './slices.js';
import { type Keywords, PyFunction, PyObject, Undefined, type Value } from './values.js';

/** `namespace(...)`: the one thing that a template can change. */
export class Namespace extends PyObject {
  readonly typeName = 'TemplateNamespace';
  readonly #attributes = new Map<Value, Value>();

  constructor(initial: Dict) {
    super();
    for (const [name, value] of initial.pairs()) this.set(name, value);
  }

  set(name: Value, value: Value): void {
    if (typeof name === 'string' && name.startsWith('_')) {
      raise(
        `Chat templates cannot store underscore-prefixed attributes on a namespace, but got ${repr(name)}`,
      );
    }
    this.#attributes.set(name, value);
  }

  override attribute(name: string): Value | undefined {
    return this.#attributes.get(name);
  }

  override repr(): string {
    return `<Namespace ${new Dict(this.#attributes).repr()}>`;
  }
}

/** `dict(mapping or pairs, **keywords)`. */
export function makeDict(name: string, args: readonly Value[], keywords: Keywords): Dict {
  const [source] = args;
  if (source instanceof Undefined) source.fail();
  if (args.length > 1) raise(`${name} expected at most 1 argument, got ${args.length}`);
  const pairs =
    source === undefined ? [] : source instanceof Dict ? source.pairs() : Array.from(iterate(source), pair);
  return new Dict([...pairs, ...keywords]);
}

function pair(item: Value): [Value, Value] {
  const [key, value, ...more] = iterate(item);
  if (key === undefined || value === undefined || more.length > 0) {
    return raise('dictionary update sequence element has another length; 2 is required');
  }
  return [key, value];
}

export class Cycler extends PyObject {
  readonly typeName = 'Cycler';
  #position = 0;
  constructor(private readonly items: readonly Value[]) {
    super();
    if (items.length === 0) raise('at least one item has to be provided');
  }

  get #current(): Value {
    return this.items[this.#position]!;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'current':
        return this.#current;
      case 'next':
        return builtin(name, '', () => {
          const value = this.#current;
          this.#position = (this.#position + 1) % this.items.length;
          return value;
        });
      case 'reset':
        return builtin(name, '', () => {
          this.#position = 0;
          return null;
        });
      case 'items':
        return new Tuple(this.items);
      case 'pos':
        return BigInt(this.#position);
      default:
        return undefined;
    }
  }
}

export class Joiner extends PyObject {
  readonly typeName = 'Joiner';
  #used = false;
  constructor(private readonly separator: Value) {
    super();
  }

  override get invoke(): (args: readonly Value[], keywords: Keywords) => Value {
    return builtin('joiner', '', () => {
      if (this.#used) return this.separator;
      this.#used = true;
      return '';
    }).invoke;
  }

  override attribute(name: string): Value | undefined {
    if (name === 'sep') return this.separator;
    return name === 'used' ? this.#used : undefined;
  }
}

/** `loop`: the state of a loop. It looks ahead only if the template asks what comes next. */
export class Loop extends PyObject {
  readonly typeName = 'LoopContext';
  readonly #iterable: Value;
  #values: Iterator<Value>;
  #index = -1;
  #length: number | undefined;
  #before: Value | undefined;
  #current: Value | undefined;
  #after: Value | undefined;
  #lastChanged: Tuple | undefined;

  /**
   * @param recurse renders the loop's body with other items, in a loop marked `recursive`.
   * @param depth how many such loops are around it.
   */
  constructor(
    iterable: Value,
    values: Iterable<Value>,
    private readonly recurse: ((items: Value, depth: number) => string) | undefined,
    private readonly depth: number,
  ) {
    super();
    this.#iterable = iterable;
    this.#values = values[Symbol.iterator]();
  }

  /** Moves on to the next item; undefined at the end. */
  advance(): Value | undefined {
    const value = this.#peek();
    this.#after = undefined;
    if (value === undefined) return undefined;
    this.#index++;
    this.#before = this.#current;
    this.#current = value;
    return value;
  }

  #peek(): Value | undefined {
    if (this.#after === undefined) {
      const { value, done } = this.#values.next();
      this.#after = done ? undefined : value;
    }
    return this.#after;
  }

  override length(): number {
    if (this.#length !== undefined) return this.#length;
    let length = lengthOf(this.#iterable);
    if (length === undefined) {
      const rest: Value[] = [];
      for (let item = this.#values.next(); !item.done; item = this.#values.next()) rest.push(item.value);
      this.#values = rest[Symbol.iterator]();
      length = rest.length + this.#index + 1 + (this.#after === undefined ? 0 : 1);
    }
    this.#length = length;
    return length;
  }

  override truthy(): boolean {
    return this.length() > 0;
  }

  override iterate(): never {
    return unsupported('iterating over the loop itself');
  }

  override repr(): string {
    return `<LoopContext ${this.#index + 1}/${this.length()}>`;
  }

  override get invoke(): (args: readonly Value[], keywords: Keywords) => Value {
    return builtin('loop', 'iterable', (items = null) => {
      if (this.recurse === undefined) {
        return raise("The loop must have the 'recursive' marker to be called recursively.");
      }
      return this.recurse(items, this.depth + 1);
    }).invoke;
  }

  override attribute(name: string): Value | undefined {
    switch (name) {
      case 'index':
        return BigInt(this.#index + 1);
      case 'index0':
        return BigInt(this.#index);
      case 'revindex':
        return BigInt(this.length() - this.#index);
      case 'revindex0':
        return BigInt(this.length() - this.#index - 1);
      case 'first':
        return this.#index === 0;
      case 'last':
        return this.#peek() === undefined;
      case 'length':
        return BigInt(this.length());
      case 'depth':
        return BigInt(this.depth + 1);
      case 'depth0':
        return BigInt(this.depth);
      case 'previtem':
        return this.#index === 0 || this.#before === undefined
          ? new Undefined('there is no previous item')
          : this.#before;
      case 'nextitem': {
        const next = this.#peek();
        return next === undefined ? new Undefined('there is no next item') : next;
      }
      case 'cycle':
        return new PyFunction(name, (args, keywords) => this.#cycle(args, keywords));
      case 'changed':
        return new PyFunction(name, (args, keywords) => this.#changed(args, keywords));
      default:
        return undefined;
    }
  }

  #cycle(args: readonly Value[], keywords: Keywords): Value {
    refuseKeywords('cycle', keywords);
    if (args.length === 0) raise('no items for cycling given');
    return args[this.#index % args.length]!;
  }

  #changed(args: readonly Value[], keywords: Keywords): boolean {
    refuseKeywords('changed', keywords);
    const values = new Tuple(args);
    if (this.#lastChanged !== undefined && equal(this.#lastChanged, values)) return false;
    this.#lastChanged = values;
    return true;
  }
}

function refuseKeywords(name: string, keywords: Keywords): void {
  for (const keyword of keywords.keys()) raise(`${name}() got an unexpected keyword argument '${keyword}'`);
}
