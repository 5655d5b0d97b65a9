/** Writes docs/reference/api from the declarations of the built packages: `npm run reference`. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Application } from 'typedoc';
import { ENTRY_POINTS, FINGERPRINT, fingerprint, PAGES, ROOT } from './freshness.mjs';

const TABLES = [
  'parameters',
  'interfaceProperties',
  'classProperties',
  'typeAliasProperties',
  'typeDeclaration',
];

const app = await Application.bootstrapWithPlugins({
  name: 'API',
  out: PAGES,
  entryPoints: ENTRY_POINTS,
  sortEntryPoints: false,
  sort: ['source-order'],
  tsconfig: join(ROOT, 'tools/api-reference/declarations.tsconfig.json'),
  plugin: ['typedoc-plugin-markdown', join(ROOT, 'tools/api-reference/names.mjs')],
  router: 'module',
  readme: 'none',
  // Line numbers change too often.
  disableSources: true,
  disableGit: true,
  excludeExternals: true,
  excludePrivate: true,
  excludeInternal: true,
  // TypeScript 7 has checked the code; this older one may reject declarations that it emits.
  skipErrorChecking: true,
  hideBreadcrumbs: true,
  hidePageHeader: true,
  ...Object.fromEntries(TABLES.map((what) => [`${what}Format`, 'table'])),
  logLevel: 'Error',
});
const project = await app.convert();
if (project === undefined) throw new Error('TypeDoc cannot read the declarations');
await rm(PAGES, { recursive: true, force: true });
await mkdir(PAGES, { recursive: true });
await app.generateOutputs(project);
for (const name of await readdir(PAGES, { recursive: true })) {
  if (!name.endsWith('.md')) continue;
  const path = join(PAGES, name);
  const text = await readFile(path, 'utf8');
  await writeFile(path, `${text.trimEnd()}\n`);
}
await writeFile(FINGERPRINT, `${JSON.stringify(await fingerprint(), null, 2)}\n`);
