import { Command } from 'commander';
import {
  buildProgram,
  describeProgress,
  EXIT,
  examples,
  formatDuration,
  Output,
  ProgressDisplay,
  runProgram,
  type TextStream,
} from 'search-r3/cli';
import { DivergenceError, InputError, InterruptedError, type ProgressEvent } from 'search-r3/run';
import { describe, expect, test } from 'vitest';

const STEP: ProgressEvent = {
  stage: 'rl',
  unit: 'step',
  step: 1,
  steps: 2,
  metrics: {},
  rate: null,
  etaSeconds: null,
};

class Sink implements TextStream {
  text = '';
  isTTY = false;
  columns = 120;
  rows = 30;
  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

describe('how the program ends', () => {
  /** Runs a program whose one command `act` throws `error`. */
  const run = async (argv: string[], error?: unknown) => {
    const stderr = new Sink();
    const act = () =>
      examples(new Command('act').requiredOption('--need <n>'), []).action(() => {
        if (error !== undefined) throw error;
      });
    const code = await runProgram(argv, { stderr, program: buildProgram([act]) });
    return { code, text: stderr.text };
  };
  const problem = { source: 'a.json', field: 'x', expected: 'a number', found: '"two\nlines"' };

  test('0 when all is well', async () => {
    expect(await run(['act', '--need', '1'])).toEqual({ code: 0, text: '' });
  });

  test('2 with one line and no stack for bad input', async () => {
    expect(await run(['act', '--need', '1'], new InputError(problem))).toEqual({
      code: 2,
      text: 'error: a.json: x: expected a number, found "two lines".\n',
    });
  });

  test.each([
    [
      ['act', '--need', '1', '--nede', '1'],
      /unknown option '--nede'\n\(Did you mean --need\?\)\nRun with --help/,
    ],
    [['act'], /required option '--need <n>' not specified/],
    [['act', '--need', '1', 'more'], /too many arguments/],
    [['atc'], /unknown command 'atc'\n\(Did you mean act\?\)/],
    [['help', 'atc'], /unknown command 'atc'\n\(Did you mean act\?\)/],
    [[], /Usage: search-r3/],
  ])('2 for wrong usage: %j', async (argv, text) => {
    const ended = await run(argv);
    expect(ended.code).toBe(2);
    expect(ended.text).toMatch(text);
  });

  test('130 when interrupted', async () => {
    const error = new InterruptedError('stopped after step 12');
    expect(await run(['act', '--need', '1'], error)).toEqual({ code: 130, text: 'stopped after step 12\n' });
    expect(EXIT).toEqual({ ok: 0, failure: 1, input: 2, interrupted: 130 });
  });

  test('1 for a failure: with its place for a defect, without for what is none', async () => {
    const defect = await run(['act', '--need', '1'], new RangeError('index'));
    expect(defect.code).toBe(1);
    expect(defect.text).toMatch(/^error: RangeError: index\n {4}at .*program\.test/);
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    });
    expect(await run(['act', '--need', '1'], full)).toEqual({
      code: 1,
      text: 'error: ENOSPC: no space left on device, write\n',
    });
    const diverged = new DivergenceError('update 4 of 6: the gradient of a is not finite.');
    expect(await run(['act', '--need', '1'], diverged)).toEqual({
      code: 1,
      text: 'error: update 4 of 6: the gradient of a is not finite.\n',
    });
    expect(await run(['act', '--need', '1'], 'just text')).toEqual({ code: 1, text: 'error: just text\n' });
  });
});

describe('Output', () => {
  const make = (json: boolean, quiet: boolean) => {
    const stdout = new Sink();
    const stderr = new Sink();
    return { output: new Output({ json, quiet, stdout, stderr }), stdout, stderr };
  };

  test('results go to stdout, all else to stderr', async () => {
    const { output, stdout, stderr } = make(false, false);
    output.note('loading');
    output.warn('short');
    const progress = await output.progress();
    progress.report(STEP);
    progress.close();
    output.result({ n: 1 }, () => 'n is 1\n\n');
    expect(stdout.text).toBe('n is 1\n');
    expect(stderr.text).toBe('loading\nwarning: short\nrl 1/2 (50%)\n');
  });

  test('--json: one document on stdout; --quiet: only warnings on stderr', async () => {
    const { output, stdout, stderr } = make(true, true);
    output.note('loading');
    output.warn('short');
    const progress = await output.progress();
    progress.report(STEP);
    progress.close();
    output.result({ text: 'a\nb' }, () => 'never');
    expect(stdout.text).toBe('{"text":"a\\nb"}\n');
    expect(stderr.text).toBe('warning: short\n');
  });
});

describe('progress', () => {
  const event = (step: number, more: Partial<ProgressEvent> = {}): ProgressEvent => ({
    stage: 'rl',
    unit: 'step',
    step,
    steps: 120,
    metrics: { reward: 0.41237, length: 20 },
    rate: 0.25,
    etaSeconds: 432,
    ...more,
  });

  test('one line tells stage, steps, metrics, speed and remaining time', () => {
    expect(describeProgress(event(12))).toBe(
      'rl 12/120 (10%)  reward 0.4124  length 20  4.0 s/step  ETA 7 min 12 s',
    );
    expect(describeProgress(event(120, { rate: 3.456 }))).toBe(
      'rl 120/120 (100%)  reward 0.4124  length 20  3.5 steps/s',
    );
    const many = { a: 1, b: Number.NaN, c: 3, d: 4 };
    expect(describeProgress(event(0, { steps: 0, metrics: many, rate: null, etaSeconds: null }))).toBe(
      'rl 0/0  a 1  b NaN  c 3',
    );
  });

  test.each([
    ['document', '12.0 documents/s', '4.0 s/document'],
    ['query', '12.0 queries/s', '4.0 s/query'],
    ['text', '12.0 texts/s', '4.0 s/text'],
  ] as const)('the speed names what is counted: %s', (unit, fast, slow) => {
    const shown = (rate: number) => describeProgress(event(120, { unit, metrics: {}, rate }));
    expect([shown(12), shown(0.25)]).toEqual([`rl 120/120 (100%)  ${fast}`, `rl 120/120 (100%)  ${slow}`]);
  });

  test.each([
    [0.4, '0 s'],
    [59.6, '1 min 0 s'],
    [432, '7 min 12 s'],
    [3599, '59 min 59 s'],
    [3600, '1 h 0 min'],
    [7500, '2 h 5 min'],
    [7199, '2 h 0 min'],
  ])('%d seconds: %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text));

  test('in a log: the first and the last step of a stage, and a line every few seconds', () => {
    const stream = new Sink();
    let now = 0;
    const display = new ProgressDisplay({ stream, every: 5, clock: () => now });
    const plain = { metrics: {}, rate: null, etaSeconds: null };
    for (let step = 1; step <= 10; step++) {
      now += 2000;
      display.report(event(step, { steps: 10, ...plain }));
    }
    display.log('saved');
    display.report(event(1, { stage: 'evaluate', steps: 3, ...plain }));
    display.close();
    expect(stream.text.replaceAll(/ \(\d+%\)/g, '').split('\n')).toEqual([
      'rl 1/10',
      'rl 4/10',
      'rl 7/10',
      'rl 10/10',
      'saved',
      'evaluate 1/3',
      '',
    ]);
  });

  test('stages that take turns go on where they were: no line at each turn, no second bar', () => {
    const plain = { metrics: {}, rate: null, etaSeconds: null };
    const turns = (display: ProgressDisplay) => {
      for (let step = 1; step <= 3; step++) {
        display.report(event(10 * step, { stage: 'targets', steps: 30, ...plain }));
        display.report(event(step, { steps: 3, ...plain }));
      }
      // Finished before: this is other work of the same name.
      display.report(event(1, { steps: 3, ...plain }));
      display.close();
    };
    const lines = new Sink();
    turns(new ProgressDisplay({ stream: lines, every: 5, clock: () => 0 }));
    expect(lines.text.replaceAll(/ \(\d+%\)/g, '').split('\n')).toEqual([
      'targets 10/30',
      'rl 1/3',
      'targets 30/30',
      'rl 3/3',
      'rl 1/3',
      '',
    ]);
    const bars = new Sink();
    bars.isTTY = true;
    turns(new ProgressDisplay({ stream: bars }));
    const last = bars.text.slice(bars.text.lastIndexOf('targets'));
    expect(bars.text.slice(bars.text.lastIndexOf('targets'))).toMatch(/^targets 30\/30/);
    expect([...last.matchAll(/rl \d\/3/g)].map(([shown]) => shown)).toEqual(['rl 3/3', 'rl 1/3']);
  });

  test('on a terminal: a bar per stage that stays in view, log lines above it', () => {
    const stream = new Sink();
    stream.isTTY = true;
    const display = new ProgressDisplay({ stream });
    display.report(event(30));
    display.report(event(60));
    display.log('checkpoint saved');
    display.report(event(120, { stage: 'evaluate' }));
    display.close();
    expect(stream.text).toContain('checkpoint saved');
    expect(stream.text).toContain('[============            ] rl 60/120 (50%)  reward 0.4124');
    expect(stream.text).toContain('[========================] evaluate 120/120 (100%)');
  });
});
