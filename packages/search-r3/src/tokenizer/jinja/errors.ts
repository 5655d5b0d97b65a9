/**
 * The error of a template that does not parse, raises an error, or uses something that this interpreter does not
 * support.
 */

export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  /** The line of the template, from 1. The innermost statement that knows it sets it. */
  line: number | undefined;
  constructor(message: string, line?: number) {
    super(message);
    this.line = line;
  }
}

/** Throws the error that Python would raise. */
export function raise(message: string): never {
  throw new TemplateError(message);
}

/** Rejects what Jinja2 renders but this interpreter does not support, so that nothing is ever rendered differently. */
export function unsupported(what: string): never {
  throw new TemplateError(`${what}, which is not supported`);
}

/** Runs `action`; an error that has no line yet gets `line`. */
export function atLine<T>(line: number, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw withLine(error, line);
  }
}

export function withLine(error: unknown, line: number): unknown {
  if (error instanceof RangeError) {
    // JavaScript's own limits on stack depth, string length and number size.
    return new TemplateError(`too much work for a template: ${error.message}`, line);
  }
  if (error instanceof TemplateError) error.line ??= line;
  return error;
}
