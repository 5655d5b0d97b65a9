/** `search-r3 demo`: trains and evaluates on the built-in world in a few minutes. */
import { Command, Option } from 'commander';
import { untilStopped } from '../interrupt.js';
import { examples, outputOf, parseCount, parseWhole, withOutput } from '../options.js';
import { withWayOn } from '../training.js';

interface Flags {
  out: string;
  resume?: boolean;
  seed: number;
  sftSteps?: number;
  rlSteps?: number;
  queries?: number;
  base?: string;
}

export function demoCommand(): Command {
  const command = new Command('demo')
    .description(
      'Teach a small language model to think before it embeds, on the built-in world: both training stages, ' +
        'evaluation on held-out queries, and a report.',
    )
    .addOption(
      new Option('-o, --out <folder>', 'run folder; replaces an earlier demo in it').default('runs/demo'),
    )
    .addOption(new Option('--resume', 'continue the interrupted demo in the folder'))
    .addOption(new Option('--seed <n>', 'seed of splits and training').argParser(parseWhole).default(0))
    .addOption(new Option('--sft-steps <n>', 'steps of stage 1').argParser(parseCount))
    .addOption(new Option('--rl-steps <n>', 'steps of stage 2').argParser(parseCount))
    .addOption(new Option('--queries <n>', 'held-out queries').argParser(parseCount))
    .addOption(new Option('--base <folder>', 'base model; default: the one in the package'));
  withOutput(command);
  examples(command, [
    { command: 'demo', does: 'Run the whole demo; the report is runs/demo/report.html.' },
    { command: 'demo --seed 1 --rl-steps 160', does: 'Use other splits and a longer stage 2.' },
    { command: 'demo --resume', does: 'Continue after Ctrl-C or a crash.' },
  ]);
  return command.action(async () => {
    const output = outputOf(command);
    const { out, ...flags } = command.opts<Flags>();
    const { runDemo } = await import('../../pipeline/index.js');
    const display = await output.progress();
    const result = await untilStopped(output, (signal) =>
      runDemo({
        folder: out,
        resume: flags.resume ?? false,
        seed: flags.seed,
        ...(flags.sftSteps !== undefined && { sftSteps: flags.sftSteps }),
        ...(flags.rlSteps !== undefined && { rlSteps: flags.rlSteps }),
        ...(flags.queries !== undefined && { queries: flags.queries }),
        ...(flags.base !== undefined && { base: flags.base }),
        signal,
        progress: display,
        onNote: (text) => output.note(text),
      }),
    )
      .catch(async (error: unknown) => {
        throw await withWayOn(error, out);
      })
      .finally(() => display.close());
    output.result(result, () => {
      const width = Math.max(...result.systems.map(({ system }) => system.length));
      const rows = result.systems.map(
        ({ system, ndcg10, interval }) =>
          `  ${system.padEnd(width)}  ${ndcg10.toFixed(3)}  [${interval.low.toFixed(3)}, ${interval.high.toFixed(3)}]`,
      );
      return [
        `nDCG@10 on ${result.queries} held-out queries, 95 % intervals (${Math.round(result.seconds)} s)`,
        ...rows,
        `gain from stage 2: ${result.gain >= 0 ? '+' : ''}${result.gain.toFixed(3)} (p = ${result.p.toPrecision(2)})`,
        `model:  ${result.model}`,
        `report: ${result.report}`,
      ].join('\n');
    });
  });
}
