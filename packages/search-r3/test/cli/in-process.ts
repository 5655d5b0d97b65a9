/**
 * Runs the program within the test's own process: a start of Node with all modules takes longer than most commands do.
 * The working folder and the standard streams are the command's while it runs; commands wait for one another.
 */
import { Readable, Writable } from 'node:stream';
import { runProgram } from 'search-r3/cli';

export interface Output {
  status: number;
  stdout: string;
  stderr: string;
}

let last: Promise<unknown> = Promise.resolve();

/** Like `search-r3 ...argv` in `cwd` with `stdin`; signals and the end of the process need a process of their own. */
export function runInProcess(argv: readonly string[], cwd: string, stdin: string): Promise<Output> {
  const run = last.then(() => runAlone(argv, cwd, stdin));
  last = run.catch(() => {});
  return run;
}

async function runAlone(argv: readonly string[], cwd: string, stdin: string): Promise<Output> {
  const written = { stdout: '', stderr: '' };
  const sink = (name: keyof typeof written) =>
    new Writable({
      decodeStrings: false,
      write: (chunk: string | Buffer, _encoding, done) => {
        written[name] += chunk.toString();
        done();
      },
    });
  const restore = replaceStreams({
    stdin: Readable.from(stdin === '' ? [] : [Buffer.from(stdin)]),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
  });
  const home = process.cwd();
  process.chdir(cwd);
  try {
    const status = await runProgram(argv);
    return { status, ...written };
  } finally {
    process.chdir(home);
    restore();
  }
}

/** @returns what puts the streams of the process back. */
function replaceStreams(streams: Partial<Record<'stdin' | 'stdout' | 'stderr', Readable | Writable>>) {
  const kept = Object.keys(streams).map(
    (name) => [name, Object.getOwnPropertyDescriptor(process, name) as PropertyDescriptor] as const,
  );
  for (const [name, value] of Object.entries(streams)) {
    Object.defineProperty(process, name, { value, configurable: true });
  }
  return () => {
    for (const [name, descriptor] of kept) Object.defineProperty(process, name, descriptor);
  };
}
