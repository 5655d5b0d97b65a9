/** The variables that every template has. */
import { boundMethod, builtin, intArgument } from './arguments.js';
import { FROM_KEYS } from './container-methods.js';
import { Range } from './containers.js';
import { raise, unsupported } from './errors.js';
import { Cycler, Joiner, makeDict, Namespace } from './objects.js';
import { str } from './repr.js';
import { strftime } from './strftime.js';
import { type Keywords, PyFunction, PyObject, typeName, type Value } from './values.js';

/** The longest range that the sandbox allows. */
const MAX_RANGE = 100_000;

/** `dict`: a callable that also has the method `fromkeys`. */
class DictFunction extends PyObject {
  readonly typeName = 'TemplateDict';

  override get invoke(): (args: readonly Value[], keywords: Keywords) => Value {
    return (args, keywords) => makeDict('dict', args, keywords);
  }

  override attribute(name: string): Value | undefined {
    return name === 'fromkeys' ? boundMethod(undefined, name, FROM_KEYS) : undefined;
  }
}

function range(...bound: readonly (Value | undefined)[]): Range {
  const [first = 0, second, third = 1] = bound.map((value) =>
    value === undefined ? undefined : intArgument(value, 'a range argument'),
  );
  if (third === 0) raise('range() arg 3 must not be zero');
  const made = second === undefined ? new Range(0, first, 1) : new Range(first, second, third);
  if (made.length() > MAX_RANGE) raise('Range too big. The sandbox blocks ranges larger than 100000.');
  return made;
}

function joiner(separator: Value = ', '): Joiner {
  return new Joiner(separator);
}

export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['range', builtin('range', 'start stop? step? /', range)],
  ['dict', new DictFunction()],
  ['lipsum', new PyFunction('lipsum', () => unsupported('lipsum writes random text'))],
  [
    'cycler',
    new PyFunction('cycler', (args, keywords) => {
      if (keywords.size > 0) raise('cycler() takes no keyword arguments');
      return new Cycler(args);
    }),
  ],
  ['joiner', builtin('joiner', 'sep?', joiner)],
  [
    'namespace',
    new PyFunction('namespace', (args, keywords) => new Namespace(makeDict('namespace', args, keywords))),
  ],
  ['raise_exception', builtin('raise_exception', 'message', (message = null) => raise(str(message)))],
  [
    'strftime_now',
    builtin('strftime_now', 'format', (format = null) =>
      typeof format === 'string' ? strftime(format) : raise(`strftime() needs str, not ${typeName(format)}`),
    ),
  ],
]);
