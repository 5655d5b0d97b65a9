/**
 * Two tiers. `*.slow.test.ts` starts processes, trains, or takes more than a few seconds; the rest is the unit tier.
 * `npm test` runs both, `npm run test:unit` the second. Tests import the packages by name, so they test what is shipped
 * (dist/) and need a build.
 */
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** A long file that starts last leaves the other cores idle. */
const LONGEST = ['pipeline/demo', 'cli/train'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const weight = ({ moduleId }: TestSpecification) => {
      const longest = LONGEST.findIndex((name) => moduleId.includes(name));
      if (longest >= 0) return longest;
      return LONGEST.length + (moduleId.endsWith('.slow.test.ts') ? 0 : 1);
    };
    return sorted.sort((a, b) => weight(a) - weight(b));
  }
}

/** Milliseconds for a test: full counts take as long as they take. */
const LIMIT = process.env.TEST_SCALE === 'full' ? 3_600_000 : 60_000;

const SLOW = 'packages/*/test/**/*.slow.test.ts';

export default defineConfig({
  test: {
    testTimeout: LIMIT,
    hookTimeout: LIMIT,
    pool: 'forks',
    maxWorkers: 2,
    setupFiles: ['tools/vitest/seed.ts'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        // One process for many files: most of the time of a small file would go into loading the packages.
        test: { name: 'unit', include: ['packages/*/test/**/*.test.ts'], exclude: [SLOW], isolate: false },
      },
      { extends: true, test: { name: 'slow', include: [SLOW] } },
    ],
  },
});
