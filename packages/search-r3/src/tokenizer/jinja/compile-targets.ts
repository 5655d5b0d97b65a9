/** Assignment: to names, to attributes of a namespace, and to tuples of them. */
import { iterate } from './containers.js';
import { raise } from './errors.js';
import type { NamespaceTarget, Target } from './nodes.js';
import { Namespace } from './objects.js';
import { type Activation, reader, type Scope, writer } from './scope.js';
import type { Value } from './values.js';

export type Assign = (activation: Activation, value: Value) => void;

export function compileTarget(target: Target, scope: Scope): Assign {
  switch (target.type) {
    case 'name':
      return writer(scope.symbols.reference(target.name), scope.function);
    case 'namespace': {
      const read = namespaceReader(target, scope);
      return (activation, value) => read(activation).set(target.attribute, value);
    }
    case 'targets': {
      const assigns = target.items.map((item) => compileTarget(item, scope));
      return (activation, value) => unpack(assigns, activation, value);
    }
    default:
      return target satisfies never;
  }
}

function unpack(assigns: readonly Assign[], activation: Activation, value: Value): void {
  const values = Array.from(iterate(value));
  if (values.length > assigns.length) raise(`too many values to unpack (expected ${assigns.length})`);
  if (values.length < assigns.length) {
    raise(`not enough values to unpack (expected ${assigns.length}, got ${values.length})`);
  }
  for (const [i, assign] of assigns.entries()) assign(activation, values[i]!);
}

/** Checks and returns the namespace that a target belongs to. */
export function namespaceReader(
  { name }: NamespaceTarget,
  scope: Scope,
): (activation: Activation) => Namespace {
  const read = reader(scope.symbols.reference(name), scope.function);
  return (activation) => {
    const namespace = read(activation);
    return namespace instanceof Namespace
      ? namespace
      : raise('cannot assign attribute on non-namespace object');
  };
}

export function namespaceTargets(target: Target): NamespaceTarget[] {
  if (target.type === 'namespace') return [target];
  return target.type === 'targets' ? target.items.flatMap(namespaceTargets) : [];
}

export function targetNames(target: Target): string[] {
  if (target.type === 'name') return [target.name];
  return target.type === 'targets' ? target.items.flatMap(targetNames) : [];
}
