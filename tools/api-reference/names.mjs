/** A TypeDoc plugin: modules are called as they are imported, and those of `dist` are not. */
import { Converter, ReflectionKind } from 'typedoc';

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (_context, reflection) => {
    if (reflection.kind === ReflectionKind.Module) reflection.name = reflection.name.replace('/dist', '');
  });
}
