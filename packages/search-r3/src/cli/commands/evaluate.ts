/** `search-r3 evaluate`: scores the systems on a split of a collection. */
import { Command, Option } from 'commander';
import { announce, withEstimate } from '../estimate.js';
import { untilStopped } from '../interrupt.js';
import { configFlag, examples, outputOf, withConfig, withData, withOutput } from '../options.js';
import { withMissing } from '../training.js';
import { loadUse, withModel, withPrompts, withSettingsNamed } from '../using.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).evaluateSettings;

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description(
    'Rank the documents of a collection with BM25, direct and reasoned embeddings and their hybrids, and compare.',
  );
  withConfig(command, loadSchema);
  withModel(command);
  withPrompts(command);
  withData(command);
  configFlag(command, '-s, --split <name>', 'evaluate.split');
  configFlag(command, '--systems <name...>', 'evaluate.systems');
  configFlag(command, '--queries <n>', 'evaluate.queries');
  configFlag(command, '--max-length <tokens>', 'evaluate.maxLength');
  configFlag(command, '--max-new-tokens <n>', 'evaluate.maxNewTokens');
  configFlag(command, '--exclude-self <when>', 'excludeSelf');
  configFlag(command, '--analyzer <kind>', 'analyzer');
  configFlag(command, '--seed <n>', 'seed');
  configFlag(command, '--samples <n>', 'evaluate.samples');
  configFlag(command, '--temperature <x>', 'evaluate.temperature');
  configFlag(command, '--controls', 'evaluate.controls');
  withMissing(command);
  command.addOption(new Option('--run-dir <folder>', 'write the rankings to this folder as TREC run files'));
  withEstimate(command);
  withOutput(command);
  examples(command, [
    {
      command: 'evaluate --data data/scifact --systems bm25',
      does: 'The baseline alone, for which no model is needed.',
    },
    {
      command: 'evaluate --model runs/scifact/model --data data/scifact',
      does: 'Compare all systems on the split test, with bootstrap intervals and p-values.',
    },
    {
      command: 'evaluate --config examples/scifact.yaml --data data/scifact --split test --run-dir runs/trec',
      does: 'Use the settings the model was trained with; write rankings for trec_eval to runs/trec.',
    },
    {
      command: 'evaluate --model runs/demo/model --data atlas --systems direct,reasoned --json',
      does: 'Compare two systems on the built-in world, also by kind of query, as JSON.',
    },
  ]);
  return command.action(async () => {
    const { evaluateModel, saveRuns } = await import('../../pipeline/index.js');
    const settings = await loadUse(command, await loadSchema());
    const output = outputOf(command);
    const dense = settings.evaluate.systems?.some((system) => system !== 'bm25') ?? true;
    if (dense) await announce(command, 'evaluate', settings, output);
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
      // If an id does not fit into a run file, the evaluation must still be shown.
      output.result({ ...evaluation.summary, files }, () => `${evaluation.text}\n${files.join('\n')}`);
    }
  });
}
