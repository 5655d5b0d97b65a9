/**
 * From a collection in memory to a model folder: saves your documents, runs both training stages and evaluates. It
 * takes at most a minute, because it trains a tiny model from scratch instead of starting from a base model.
 *
 *     npm run build && node examples/dist/train-on-your-documents.js runs/own
 *
 * BM25 finds every document here, because queries and documents share their words. Look for embeddings that have
 * learned something: `direct` and `reasoned` should be above chance (MRR 0.09).
 *
 * Writes runs/own/collection (BEIR) and runs/own/run/model; the other examples use both.
 */
import { join } from 'node:path';
import { type Collection, evaluate, InterruptedError, type Qrels, saveBeir, train } from 'search-r3';

const folder = process.argv[2] ?? 'runs/own';
const data = join(folder, 'collection');
const out = join(folder, 'run');

// Your documents, and queries with the documents that answer them. Each stage gets half of the queries.
await saveBeir(data, workshops(), { overwrite: true });

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

try {
  const { model, report, stages } = await train(
    {
      data,
      out,
      seed: 1,
      // Or `base: 'models/Qwen2.5-0.5B-Instruct'` instead of `pretrain`, with the default steps of both stages.
      pretrain: {
        steps: 80,
        batchSize: 12,
        vocabSize: 400,
        model: { hiddenSize: 48, intermediateSize: 96, layers: 2, heads: 3, kvHeads: 3, maxPositions: 256 },
        optimization: { warmupSteps: 10, learningRate: 5e-3 },
      },
      // A small model learns fast. Stage 2 leaves room for the longest reasoning of stage 1 and the embed token.
      sft: {
        steps: 80,
        batchSize: 8,
        reasoning: { maxNewTokens: 6 },
        // It still has to learn its words.
        tokenEmbeddings: 'trained',
        optimization: { warmupSteps: 5, learningRate: 4e-3 },
      },
      rl: { steps: 6, queriesPerStep: 4, groupSize: 4, maxNewTokens: 12, tokenEmbeddings: 'trained' },
    },
    {
      // The first Ctrl-C finishes and saves the current step; `resume: true` continues from there.
      overwrite: true,
      signal: stop.signal,
      onNote: (note) => console.log(note),
      onProgress: ({ stage, unit, step, steps, metrics }) => {
        if (unit === 'step' && (step % 20 === 0 || step === steps))
          console.log(`  ${stage} ${step}/${steps}`, metrics);
      },
    },
  );
  for (const { stage, steps, validation } of stages) console.log(stage, steps, 'steps', validation ?? '');

  const { text } = await evaluate({ data, model, evaluate: { split: 'test' } });
  console.log(`\n${text}`);
  console.log(
    'BM25 is perfect here, since these queries have the words of their documents; by chance MRR is 0.09.',
  );
  console.log(`model: ${model}\nreport: ${report}`);
} catch (error) {
  if (!(error instanceof InterruptedError)) throw error;
  console.error(`${error.message}; continue with resume: true`);
  process.exitCode = 130;
}

/** 48 workshops, each with a training query; every other one also has a test query. */
function workshops(): Collection {
  const crafts = ['violins', 'clocks', 'kites', 'boats', 'maps', 'knives', 'lamps', 'hats'];
  const towns = ['Arlen', 'Brook', 'Cavel', 'Dorne', 'Elmo', 'Farro'];
  const corpus: Collection['corpus'] = [];
  const queries: Collection['queries'] = new Map();
  const [train, test]: [Qrels, Qrels] = [new Map(), new Map()];
  for (const craft of crafts) {
    for (const town of towns) {
      const n = corpus.length;
      corpus.push({
        id: `workshop-${n}`,
        title: `The ${craft} of ${town}`,
        text: `In ${town} they make ${craft} by hand. Visitors of ${town} may watch the makers of ${craft} at work.`,
      });
      queries.set(`who-${n}`, { id: `who-${n}`, text: `who makes ${craft} in ${town}` });
      train.set(`who-${n}`, new Map([[`workshop-${n}`, 1]]));
      if (n % 2 === 0) continue;
      queries.set(`where-${n}`, {
        id: `where-${n}`,
        text: `where in ${town} can one watch makers of ${craft}`,
      });
      test.set(`where-${n}`, new Map([[`workshop-${n}`, 1]]));
    }
  }
  return {
    corpus,
    queries,
    qrels: new Map([
      ['train', train],
      ['test', test],
    ]),
  };
}
