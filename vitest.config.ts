import { defineConfig } from 'vitest/config';

// Tests import the packages by name, so what is tested is what is shipped (dist/); `npm test` builds first.
export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
