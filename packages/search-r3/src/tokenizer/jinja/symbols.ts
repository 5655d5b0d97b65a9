/**
 * Which variable a name means. Jinja2 decides that before rendering: a scope that assigns a name has its own variable,
 * which starts as a copy of the outer one; a scope that only reads the name uses the outer variable. This follows
 * Jinja2's `idtracking`, whose order of visits decides what a name means before it is assigned.
 */
import { raise, TemplateError } from './errors.js';
import { children, descendants, type Node, type Statement } from './nodes.js';

/** How a variable starts when its scope is entered. */
export type Load =
  | { kind: 'parameter' }
  /** Looked up among the variables of the template. */
  | { kind: 'resolve'; name: string }
  | { kind: 'alias'; of: Variable }
  | { kind: 'undefined' };

/** A name in a scope; sibling scopes on one level share their variables. */
export interface Variable {
  level: number;
  name: string;
}

const idOf = ({ level, name }: Variable) => `${level} ${name}`;

export class Symbols {
  readonly level: number;
  #references = new Map<string, Variable>();
  #loads = new Map<string, { variable: Variable; load: Load }>();
  #stores = new Set<string>();

  constructor(private readonly parent?: Symbols) {
    this.level = parent === undefined ? 0 : parent.level + 1;
  }

  /** What entering the scope does, in order. */
  get loads(): Iterable<{ variable: Variable; load: Load }> {
    return this.#loads.values();
  }

  find(name: string): Variable | undefined {
    return this.#references.get(name) ?? this.parent?.find(name);
  }

  loadOf(variable: Variable): Load | undefined {
    return this.#loads.get(idOf(variable))?.load ?? this.parent?.loadOf(variable);
  }

  reference(name: string): Variable {
    return this.find(name) ?? raise(`the name "${name}" cannot be resolved here`);
  }

  declareParameter(name: string): Variable {
    this.#stores.add(name);
    return this.#define(name, { kind: 'parameter' });
  }

  load(name: string): void {
    if (this.find(name) === undefined) this.#define(name, { kind: 'resolve', name });
  }

  store(name: string): void {
    this.#stores.add(name);
    if (this.#references.has(name)) return;
    const outer = this.parent?.find(name);
    this.#define(name, outer === undefined ? { kind: 'undefined' } : { kind: 'alias', of: outer });
  }

  #define(name: string, load: Load): Variable {
    const variable = { level: this.level, name };
    this.#references.set(name, variable);
    this.#loads.set(idOf(variable), { variable, load });
    return variable;
  }

  copy(): Symbols {
    const copy = new Symbols(this.parent);
    copy.#references = new Map(this.#references);
    copy.#loads = new Map(this.#loads);
    copy.#stores = new Set(this.#stores);
    return copy;
  }

  /** Merges the branches of an `if`: a variable that one of them assigns starts with its outer value. */
  mergeBranches(branches: readonly Symbols[]): void {
    const stores = new Set(branches.flatMap((branch) => [...branch.#stores]));
    for (const name of this.#stores) stores.delete(name);
    for (const branch of branches) {
      for (const [name, variable] of branch.#references) this.#references.set(name, variable);
      for (const [id, load] of branch.#loads) this.#loads.set(id, load);
      for (const name of branch.#stores) this.#stores.add(name);
    }
    for (const name of stores) {
      const variable = this.reference(name);
      const outer = this.parent?.find(name);
      const load: Load = outer === undefined ? { kind: 'resolve', name } : { kind: 'alias', of: outer };
      this.#loads.set(idOf(variable), { variable, load });
    }
  }

  /** Every name that this scope or one around it assigns. */
  allStores(): Map<string, Variable> {
    const all = new Map(this.parent?.allStores());
    for (const name of this.#stores) all.set(name, this.reference(name));
    return all;
  }

  /** Visits nodes that belong to this scope. */
  visit(nodes: Iterable<Node>): void {
    for (const node of nodes) this.#visitNode(node);
  }

  #visitNode(node: Node): void {
    if (node.type === 'name') {
      if (node.context === 'param') this.declareParameter(node.name);
      else if (node.context === 'store') this.store(node.name);
      else this.load(node.name);
    } else if (node.type === 'namespace') {
      this.load(node.name);
    } else if (node.type === 'macro') {
      this.store(node.name);
    } else if (node.type === 'if') {
      this.#visitIf(node);
    } else {
      this.visit(outside(node));
    }
  }

  #visitIf(node: Extract<Node, { type: 'if' }>): void {
    this.#visitNode(node.test);
    const branches = [node.body, node.elifs, node.otherwise].map((nodes) => {
      const branch = this.copy();
      branch.visit(nodes);
      return branch;
    });
    this.mergeBranches(branches);
  }
}

/** The children that belong to the scope around a node. The body of a node has its own scope. */
function outside(node: Node): Node[] {
  switch (node.type) {
    case 'set':
      return [node.value, node.target];
    case 'for':
      return [node.iterable];
    case 'call_block':
      return node.call === undefined ? [] : [node.call];
    case 'filter_block':
      return [node.filter];
    case 'with':
      return node.values;
    case 'set_block':
      return [node.target];
    case 'scope':
    case 'block':
      return [];
    default:
      return children(node);
  }
}

/** Which of `names` the nodes read before they assign them. Blocks are not searched. */
export function undeclared(nodes: readonly Node[], names: readonly string[]): Set<string> {
  const sought = new Set(names);
  const found = new Set<string>();
  const visit = (node: Node): void => {
    if (node.type === 'block') return;
    if (node.type !== 'name') {
      for (const child of children(node)) visit(child);
    } else if (node.context === 'load' && sought.has(node.name)) {
      found.add(node.name);
    } else {
      sought.delete(node.name);
    }
  };
  for (const node of nodes) visit(node);
  return found;
}

/** Every block of the template by name. */
export function findBlocks(body: readonly Statement[]): Map<string, Extract<Statement, { type: 'block' }>> {
  const blocks = new Map<string, Extract<Statement, { type: 'block' }>>();
  for (const statement of body) {
    for (const node of descendants(statement)) {
      if (node.type !== 'block') continue;
      if (blocks.has(node.name)) throw new TemplateError(`block '${node.name}' defined twice`, node.line);
      blocks.set(node.name, node);
    }
  }
  return blocks;
}
