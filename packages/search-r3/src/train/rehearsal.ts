/** Rehearses training steps as `GradientEngine` runs them: what they cost, from the lengths of their sequences alone. */
import { addWork, type Feeds, NO_WORK, type Program, Rehearsal, type Work } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { TrainingWeights } from '../decoder/index.js';
import { evenly } from '../run/index.js';
import {
  type ContrastiveBatch,
  chunkByLength,
  collate,
  distinctSequences,
  longest,
  splitByLength,
  type TrainingSequence,
} from './batch.js';
import { contrastiveFeeds } from './contrastive.js';
import type { EngineOptions, StepRequest } from './engine.js';
import { headParts, headRows } from './head.js';
import { MAX_TOKENS, Turns } from './kept-sessions.js';
import {
  contrastiveProgram,
  idsName,
  labelStatesProgram,
  logProbabilityProgram,
  pieceProgram,
  type TrainingProgramOptions,
  trainingProgram,
} from './program.js';
import { embeddingTerms, labelTerms } from './terms/index.js';
import type { LabelTerm } from './terms/term.js';
import { placedLabels, TrainingRun } from './training-run.js';

/** Sizes of the symbols of a program, read off what is fed. */
export function sizesOf({ inputs }: Pick<Program, 'inputs'>, feeds: Feeds): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const [name, { shape }] of inputs) {
    const fed = feeds[name];
    if (fed === undefined) continue;
    for (const [axis, dim] of shape.entries()) {
      if (typeof dim === 'string') sizes[dim] = fed.shape[axis] ?? 0;
    }
  }
  return sizes;
}

/** A session that is rehearsed. */
interface Rehearsed {
  program: Program;
  rehearsal: Rehearsal;
}

/** The weights of an engine without their arrays. */
export interface RehearsedWeights {
  declare: TrainingWeights['declare'];
  /** Sizes of the symbols that they are declared with: the rank of an adapter. */
  sizes?: Readonly<Record<string, number>>;
}

/** Pieces of a step that are rehearsed. */
const MOST_PIECES = 8;

export class StepRehearsal {
  readonly #config: ModelConfig;
  readonly #weights: RehearsedWeights;
  readonly #options: EngineOptions;
  readonly #terms: readonly LabelTerm[];
  readonly #sessions = new Map<string, Rehearsed>();
  readonly #turns: Turns;
  #most = { resident: 0, weights: 0 };
  #pieces = false;

  constructor(config: ModelConfig, weights: RehearsedWeights, options: EngineOptions) {
    this.#config = config;
    this.#weights = weights;
    this.#options = options;
    this.#turns = new Turns(config, options);
    this.#terms = labelTerms(options.objective);
  }

  /** Whether a step so far was run in pieces, whose gradients are added up. */
  get inPieces(): boolean {
    return this.#pieces;
  }

  /** The most bytes that the sessions of one moment hold between the nodes of their programs. */
  get resident(): number {
    return this.#most.resident;
  }

  /** The most bytes of frozen weights that the sessions of one moment hold, each its own. */
  get weights(): number {
    return this.#most.weights;
  }

  /** Sessions, and the kernels that they consist of. */
  get sessions(): { count: number; kernels: number } {
    const kernels = [...this.#sessions.values()].reduce((sum, { rehearsal }) => sum + rehearsal.kernels, 0);
    return { count: this.#sessions.size, kernels };
  }

  /** A step of `GradientEngine.compute`. Of token ids it only matters which sequences are equal. */
  step(request: StepRequest): Work {
    const { objective, maxTokens = MAX_TOKENS } = this.#options;
    const read = embeddingTerms(objective).length > 0 ? request.contrastive : undefined;
    const { sequences, contrastive } = distinctSequences(request.sequences, read, (label) =>
      this.#terms.some((term) => term.reads(label)),
    );
    if (sequences.length === 0) return NO_WORK;
    const groups = splitByLength(sequences);
    if (collate(sequences, groups, idsName).tokens <= maxTokens) {
      const programs = this.#programs(sequences, [groups.flat()], contrastive && 'inGraph');
      return this.#piece(sequences, groups, programs, contrastive);
    }
    this.#pieces = true;
    // Many pieces are alike: some stand for all, the one with the longest sequences among them.
    const all = chunkByLength(sequences, maxTokens);
    const chunks = evenly(all.toReversed(), MOST_PIECES).toReversed();
    const share = paddedTokens(sequences, all) / paddedTokens(sequences, chunks);
    const programs = this.#programs(sequences, all, contrastive && 'given');
    const runs: Work[] = [];
    if (contrastive !== undefined) {
      for (const chunk of chunks) runs.push(this.#embed(sequences, chunk));
      const sizes = {
        embeds: sequences.filter(({ embed }) => embed !== undefined).length,
        anchor_count: contrastive.anchors.length,
        document_count: contrastive.documents.length,
      };
      runs.push(
        this.#run('contrastive', () => contrastiveProgram(this.#config.hiddenSize, objective), sizes),
      );
    }
    for (const chunk of chunks) runs.push(this.#piece(sequences, [chunk], programs));
    return runs.reduce((total, run) => addWork(total, run, share), NO_WORK);
  }

  /** A pass for the log-probabilities of the reference (`LogProbabilities`). */
  reference({ sequences }: StepRequest): Work {
    const { maxTokens = MAX_TOKENS } = this.#options;
    let total: Work = NO_WORK;
    for (const chunk of chunkByLength(sequences, maxTokens)) {
      const members = chunk.filter((member) => (sequences[member]?.labels.length ?? 0) > 0);
      if (members.length === 0) continue;
      const targets = members.flatMap((member) => sequences[member]?.labels ?? []);
      const sizes = { ...batchSizes(sequences, members), labels: targets.length };
      const states = () => labelStatesProgram(this.#config, this.#declared);
      total = addWork(total, this.#run('states', states, sizes));
      const head = () => logProbabilityProgram(this.#config, this.#declared);
      const most = headRows(this.#config.vocabSize);
      for (let from = 0; from < targets.length; from += most) {
        const part = { labels: Math.min(most, targets.length - from) };
        total = addWork(total, this.#run('head', head, part));
      }
    }
    return total;
  }

  /** Which programs a step needs. */
  #programs(
    sequences: readonly TrainingSequence[],
    chunks: readonly (readonly number[])[],
    embeddings: 'inGraph' | 'given' = 'given',
  ): Pick<TrainingProgramOptions, 'parts' | 'embeddings'> {
    const most = Math.max(...chunks.map((chunk) => placedLabels(sequences, chunk, this.#terms).length));
    const parts = most === 0 ? 0 : headParts(most, this.#config.vocabSize, this.#options.headBytes);
    const embedded = sequences.some(({ embed }) => embed !== undefined);
    return { parts, embeddings: embedded ? embeddings : 'none' };
  }

  #embed(sequences: readonly TrainingSequence[], chunk: readonly number[]): Work {
    const members = chunk.filter((member) => sequences[member]?.embed !== undefined);
    if (members.length === 0) return NO_WORK;
    const sizes = { ...batchSizes(sequences, members), embeds: members.length };
    return this.#run('embed', () => pieceProgram(this.#config, this.#declared), sizes);
  }

  #piece(
    sequences: readonly TrainingSequence[],
    groups: readonly (readonly number[])[],
    programs: Pick<TrainingProgramOptions, 'parts' | 'embeddings'>,
    contrastive?: ContrastiveBatch,
  ): Work {
    const { objective, checkpoint = false } = this.#options;
    const { parts, embeddings } = programs;
    const how = { config: this.#config, terms: this.#terms, parts, temperature: 1, first: true };
    const run = new TrainingRun(sequences, groups, how);
    const count = groups.length;
    const key = `training ${count} ${parts} ${embeddings}`;
    const ended = this.#turns.next(key);
    if (ended !== undefined) this.#sessions.delete(ended);
    const session = this.#session(key, () =>
      trainingProgram(this.#config, this.#declared, { ...programs, objective, groups: count, checkpoint }),
    );
    const feeds = {
      ...run.feeds,
      ...(contrastive && contrastiveFeeds(contrastive, (sequence) => run.embedding(sequence), objective)),
    };
    const sizes = { ...this.#weights.sizes, embeds: run.embeds, ...sizesOf(session.program, feeds) };
    return this.#runOf(session, sizes);
  }

  get #declared(): TrainingWeights {
    return { declare: this.#weights.declare, feeds: {}, trained: new Map() };
  }

  #run(name: string, build: () => Program, sizes: Record<string, number>): Work {
    return this.#runOf(this.#session(name, build), { ...this.#weights.sizes, ...sizes });
  }

  #runOf({ rehearsal }: Rehearsed, sizes: Record<string, number>): Work {
    const { work } = rehearsal.run(sizes);
    const total = (value: (rehearsal: Rehearsal) => number) =>
      [...this.#sessions.values()].reduce((sum, session) => sum + value(session.rehearsal), 0);
    this.#most = {
      resident: Math.max(
        this.#most.resident,
        total((own) => own.resident),
      ),
      weights: Math.max(
        this.#most.weights,
        total((own) => own.weights),
      ),
    };
    return work;
  }

  #session(name: string, build: () => Program): Rehearsed {
    const known = this.#sessions.get(name);
    if (known !== undefined) return known;
    const program = build();
    const made = { program, rehearsal: new Rehearsal(program) };
    this.#sessions.set(name, made);
    return made;
  }
}

const paddedTokens = (
  sequences: readonly TrainingSequence[],
  chunks: readonly (readonly number[])[],
): number => chunks.reduce((sum, chunk) => sum + chunk.length * longest(sequences, chunk), 0);

function batchSizes(sequences: readonly TrainingSequence[], members: readonly number[]) {
  const length = longest(sequences, members);
  return { batch: members.length, length, positions: length };
}
