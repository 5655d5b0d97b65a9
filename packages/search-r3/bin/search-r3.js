#!/usr/bin/env node
// npm links executables at install time, and only files that are there: this one is, before anything is built.
import { existsSync } from 'node:fs';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  console.error('search-r3 is not built yet: run `npm run build` in the repository.');
  process.exitCode = 1;
}
