/**
 * The parts of TypeDoc that are used here. TypeDoc itself is installed by `npm run reference` alone, since it needs an
 * older TypeScript than the project.
 */
declare module 'typedoc' {
  interface Reflection {
    kind: number;
    name: string;
  }
  interface Project {
    readonly name: string;
  }
  export class Application {
    static bootstrapWithPlugins(options: Readonly<Record<string, unknown>>): Promise<Application>;
    readonly converter: {
      on(event: string, listener: (context: unknown, reflection: Reflection) => void): void;
    };
    convert(): Promise<Project | undefined>;
    generateOutputs(project: Project): Promise<void>;
  }
  export const Converter: { readonly EVENT_CREATE_DECLARATION: string };
  export const ReflectionKind: { readonly Module: number };
}
