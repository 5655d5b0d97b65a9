/**
 * A Python with the reference implementations (transformers, Jinja2), which some tests compare with. They are peers and
 * never needed: a test without them says so and skips. `tools/oracles/README.md` tells how to install them.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

const repository = resolve(import.meta.dirname, '../../../..');

/** Folder of the Python programs that print what the references give. */
export const ORACLES = resolve(repository, 'tools/oracles');

/** What a skipped test says. */
export const NO_PYTHON =
  'skipped: needs the Python packages of tools/oracles/requirements.txt (see tools/oracles/README.md)';

/** The Python to run, or undefined where none has all of `modules`. */
export function pythonWith(...modules: string[]): string | undefined {
  const candidates = [
    process.env.ORACLES_PYTHON,
    resolve(repository, '.cache/oracles/bin/python'),
    resolve(repository, '.cache/peers/venv/bin/python'),
    'python3',
  ];
  return candidates.find((python) => {
    if (python === undefined || (python.includes('/') && !existsSync(python))) return false;
    const program = modules.map((name) => `import ${name}`).join('\n');
    return spawnSync(python, ['-c', program], { stdio: 'ignore' }).status === 0;
  });
}
