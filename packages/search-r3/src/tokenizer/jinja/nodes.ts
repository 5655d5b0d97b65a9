/** The syntax tree. It has the nodes of Jinja2's in the same order, because scoping depends on that order. */
import type { Value } from './values.js';

export interface Arguments {
  args: Expression[];
  keywords: { name: string; value: Expression }[];
  /** `*args`. */
  rest: Expression | undefined;
  /** `**kwargs`. */
  restKeywords: Expression | undefined;
}

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type CompareOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

export interface Name {
  type: 'name';
  name: string;
  /** `store` and `param` are targets; a parameter is always a variable of its own scope. */
  context: 'load' | 'store' | 'param';
  line: number;
}

/** `namespace.attribute` as a target of `set`. */
export interface NamespaceTarget {
  type: 'namespace';
  name: string;
  attribute: string;
  line: number;
}

export interface TupleTarget {
  type: 'targets';
  items: Target[];
  line: number;
}

export type Target = Name | NamespaceTarget | TupleTarget;

export interface Slice {
  type: 'slice';
  start: Expression | undefined;
  stop: Expression | undefined;
  step: Expression | undefined;
  line: number;
}

export interface Call {
  type: 'call';
  callee: Expression;
  args: Arguments;
  line: number;
}

export interface Filter {
  type: 'filter';
  /** Undefined in a filter block, whose body is the input. */
  input: Expression | undefined;
  name: string;
  args: Arguments;
  line: number;
}

export type Expression =
  | Name
  | Slice
  | Call
  | Filter
  | { type: 'constant'; value: Value; line: number }
  | { type: 'tuple' | 'list' | 'concat'; items: Expression[]; line: number }
  | { type: 'dict'; items: { key: Expression; value: Expression }[]; line: number }
  | {
      type: 'condition';
      test: Expression;
      value: Expression;
      otherwise: Expression | undefined;
      line: number;
    }
  | { type: 'and' | 'or'; left: Expression; right: Expression; line: number }
  | { type: 'not' | 'plus' | 'minus'; operand: Expression; line: number }
  | { type: 'binary'; operator: BinaryOperator; left: Expression; right: Expression; line: number }
  | {
      type: 'compare';
      first: Expression;
      rest: { operator: CompareOperator; right: Expression }[];
      line: number;
    }
  | { type: 'attribute'; object: Expression; name: string; line: number }
  | { type: 'item'; object: Expression; key: Expression; line: number }
  | { type: 'test'; input: Expression; name: string; args: Arguments; line: number };

/** Text between tags. */
export interface Data {
  type: 'data';
  text: string;
  line: number;
}

export interface For {
  type: 'for';
  target: Target;
  iterable: Expression;
  body: Statement[];
  otherwise: Statement[];
  test: Expression | undefined;
  recursive: boolean;
  line: number;
}

export interface If {
  type: 'if';
  test: Expression;
  body: Statement[];
  elifs: If[];
  otherwise: Statement[];
  line: number;
}

interface Signature {
  parameters: Name[];
  /** The defaults of the last parameters. */
  defaults: Expression[];
}

export interface Macro extends Signature {
  type: 'macro';
  name: string;
  body: Statement[];
  line: number;
}

export interface CallBlock extends Signature {
  type: 'call_block';
  /** Undefined for `{% generation %}`, which writes its body. */
  call: Call | undefined;
  body: Statement[];
  line: number;
}

export interface Block {
  type: 'block';
  name: string;
  scoped: boolean;
  required: boolean;
  body: Statement[];
  line: number;
}

export type Statement =
  | For
  | If
  | Macro
  | CallBlock
  | Block
  | { type: 'output'; items: (Expression | Data)[]; line: number }
  | { type: 'set'; target: Target; value: Expression; line: number }
  | { type: 'set_block'; target: Target; filter: Filter | undefined; body: Statement[]; line: number }
  | { type: 'filter_block'; filter: Filter; body: Statement[]; line: number }
  | { type: 'with'; targets: Target[]; values: Expression[]; body: Statement[]; line: number }
  | { type: 'scope'; body: Statement[]; line: number }
  | { type: 'break' | 'continue'; line: number }
  /**
   * `include`, `import`, `from` or `extends`: there are no other templates, so it raises an error when it is reached.
   */
  | { type: 'other_template'; tag: string; template: Expression; names: Name[]; line: number };

export type Node = Expression | Target | Statement | Data;

/** The children of a node in the order in which Jinja2 visits them. */
export function children(node: Node): Node[] {
  switch (node.type) {
    case 'name':
    case 'namespace':
    case 'constant':
    case 'data':
    case 'break':
    case 'continue':
      return [];
    case 'targets':
    case 'tuple':
    case 'list':
    case 'concat':
    case 'output':
      return node.items;
    case 'dict':
      return node.items.flatMap(({ key, value }) => [key, value]);
    case 'condition':
      return [node.test, node.value, ...(node.otherwise === undefined ? [] : [node.otherwise])];
    case 'and':
    case 'or':
    case 'binary':
      return [node.left, node.right];
    case 'not':
    case 'plus':
    case 'minus':
      return [node.operand];
    case 'compare':
      return [node.first, ...node.rest.map(({ right }) => right)];
    case 'attribute':
      return [node.object];
    case 'item':
      return [node.object, node.key];
    case 'slice':
      return [node.start, node.stop, node.step].filter((part) => part !== undefined);
    case 'call':
      return [node.callee, ...argumentNodes(node.args)];
    case 'filter':
      return [...(node.input === undefined ? [] : [node.input]), ...argumentNodes(node.args)];
    case 'test':
      return [node.input, ...argumentNodes(node.args)];
    case 'for':
      return [
        node.target,
        node.iterable,
        ...node.body,
        ...node.otherwise,
        ...(node.test === undefined ? [] : [node.test]),
      ];
    case 'if':
      return [node.test, ...node.body, ...node.elifs, ...node.otherwise];
    case 'macro':
      return [...node.parameters, ...node.defaults, ...node.body];
    case 'call_block':
      return [
        ...(node.call === undefined ? [] : [node.call]),
        ...node.parameters,
        ...node.defaults,
        ...node.body,
      ];
    case 'block':
    case 'scope':
      return node.body;
    case 'set':
      return [node.target, node.value];
    case 'set_block':
      return [node.target, ...(node.filter === undefined ? [] : [node.filter]), ...node.body];
    case 'filter_block':
      return [...node.body, node.filter];
    case 'with':
      return [...node.targets, ...node.values, ...node.body];
    case 'other_template':
      return [node.template, ...node.names];
    default:
      return node satisfies never;
  }
}

function argumentNodes({ args, keywords, rest, restKeywords }: Arguments): Expression[] {
  return [
    ...args,
    ...keywords.map(({ value }) => value),
    ...(rest === undefined ? [] : [rest]),
    ...(restKeywords === undefined ? [] : [restKeywords]),
  ];
}

/** The node and all its descendants. */
export function* descendants(node: Node): Iterable<Node> {
  yield node;
  for (const child of children(node)) yield* descendants(child);
}
