/** `search-r3 evaluate`: what a model is worth on a split of a collection. */
import { Command, Option } from 'commander';
import { untilStopped } from '../interrupt.js';
import { configFlag, examples, outputOf, withConfig, withData, withOutput } from '../options.js';
import { withMissing } from '../training.js';
import { loadUse, withModel, withSettingsNamed } from '../using.js';

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description(
    'Rank the documents of a collection by BM25, by direct and reasoned embeddings and by hybrids of both, and compare.',
  );
  withConfig(command);
  withModel(command);
  withData(command);
  configFlag(command, '-s, --split <name>', 'judgements to evaluate on (default: test)', 'evaluate.split');
  configFlag(
    command,
    '--systems <name...>',
    'any of bm25, direct, reasoned, hybrid, hybrid_reasoned, separated by spaces or commas (default: all)',
    'evaluate.systems',
  );
  configFlag(command, '--queries <n>', 'only the first so many judged queries', 'evaluate.queries');
  configFlag(
    command,
    '--max-length <tokens>',
    'longest text; longer ones are cut (default: as the model was trained)',
    'evaluate.maxLength',
  );
  configFlag(
    command,
    '--max-new-tokens <n>',
    'length limit of the reasoning (default: as the model was trained)',
    'evaluate.maxNewTokens',
  );
  configFlag(command, '--seed <n>', 'of splits and significance tests', 'seed');
  withMissing(command, 'scored as trec_eval does');
  command.addOption(new Option('--run-dir <folder>', 'write the rankings there as TREC run files'));
  withOutput(command);
  examples(command, [
    {
      command: 'evaluate --model runs/scifact/model --data data/scifact',
      does: 'All systems on the split test, with bootstrap intervals and p-values.',
    },
    {
      command: 'evaluate --config examples/scifact.yaml --data data/scifact --split test --run-dir runs/trec',
      does: 'With the settings the model was trained with; rankings for trec_eval in runs/trec.',
    },
    {
      command: 'evaluate --model runs/demo/model --data atlas --systems direct,reasoned --json',
      does: 'Two systems in the built-in world, by kind of query too, as JSON.',
    },
  ]);
  return command.action(async () => {
    const { evaluateModel, evaluateSettings, saveRuns } = await import('../../pipeline/index.js');
    const settings = await loadUse(command, evaluateSettings);
    const output = outputOf(command);
    const { runDir } = command.opts<{ runDir?: string }>();
    const progress = await output.progress();
    const work = (signal: AbortSignal) =>
      evaluateModel(settings, { progress, signal, onNote: (note) => output.note(note) });
    const sectionOf = (name: string) => (name in settings.evaluate ? 'evaluate' : 'embed');
    const evaluation = await withSettingsNamed(command, () => untilStopped(output, work), sectionOf).finally(
      () => progress.close(),
    );
    let files: string[] = [];
    try {
      if (runDir !== undefined) files = await saveRuns(runDir, evaluation);
    } finally {
      // An id that no run file can hold must not cost the evaluation.
      output.result({ ...evaluation.summary, files }, () => `${evaluation.text}\n${files.join('\n')}`);
    }
  });
}
