/**
 * The policy by value of information. The positives and a few random documents show how the update moved vectors, and
 * stale vectors are predicted from that. Each round encodes the documents that may change the rewards most and learns
 * the drift again with them. In the end the predictions replace all stale vectors in the store.
 */
import { copyRows } from '../run/index.js';
import { type Candidates, type Closeup, candidatesOf, lookClosely } from './closeup.js';
import type { Drift } from './drift/index.js';
import { learnMovement, type PolicyContext, type RefreshPolicy } from './policy.js';
import type { RefreshStep } from './step.js';

/**
 * Maximum number of rounds with a target. Each encodes half of what the target seems to need, so the last encode
 * little.
 */
const TARGET_ROUNDS = 12;
const LEAST_PER_ROUND = 8;

/** Maximum number of random documents per step: a share of a large corpus would be more than the drift can use. */
const MOST_RANDOM = 1024;

export const refreshByValue: RefreshPolicy = async (step, context) => {
  const { allowance, options } = context;
  const { random, candidates: most } = options.value;
  const drawn = Math.min(MOST_RANDOM, Math.round(random * allowance.usual));
  await step.encode(step.sample(drawn), 'random');
  let drift = await learn(step, context);
  const queries = drift?.matrix === undefined ? step.rollouts : turned(step.rollouts, drift.matrix);
  const candidates = await step.time('search', () => candidatesOf(step, queries, most));
  const before = await vectorsOf(step, candidates);
  let seen = await look(step, context, candidates, before, drift);
  let rounds = 0;
  for (;;) {
    const chosen = choose(step, context, seen.closeup, rounds);
    if (chosen.length === 0 || (await step.encode(chosen, 'value')) === 0) break;
    rounds++;
    drift = await learn(step, context);
    seen = await look(step, context, candidates, before, drift);
  }
  // Unspent budget: nothing else matters at this step, but the oldest documents may at the next.
  const sweep = allowance.target === undefined ? step.oldest(step.left) : [];
  const swept = (await step.encode(sweep, 'sweep')) > 0;
  if (swept) drift = await learn(step, context);
  if (drift !== undefined) {
    const last = drift;
    await step.time('map', () => settle(step, context, candidates, before, last, swept ? undefined : seen));
  }
  return { rounds, ...(!swept && { closeup: seen.closeup }) };
};

/** The stale rows to encode in a round, most valuable first; none at the end. */
function choose(
  step: RefreshStep,
  { allowance, options, uncertainty }: PolicyContext,
  { rows, values, expectedError }: Closeup,
  round: number,
): number[] {
  const { target } = allowance;
  const last = target === undefined ? options.value.rounds : TARGET_ROUNDS;
  if (round === last) return [];
  if (uncertainty.deviation(1) === 0) {
    // Before anything is known about errors, all stale documents are worth the same.
    if (target === undefined) return step.sample(step.left);
    // An expected error of 0 means nothing then: encode a few documents to learn about errors, if there are rollouts.
    return uncertainty.learnt || step.relevant.length === 0 ? [] : step.sample(LEAST_PER_ROUND);
  }
  if (target !== undefined && expectedError <= target) return [];
  const order = [...rows.keys()]
    .filter((i) => (values[i] as number) > 0)
    .sort(
      (i, j) => (values[j] as number) - (values[i] as number) || (rows[i] as number) - (rows[j] as number),
    );
  const count =
    target === undefined
      ? Math.ceil(step.left / (last - round))
      : enough(
          order.map((i) => values[i] as number),
          1 - target / expectedError,
        );
  return order.slice(0, count).map((i) => rows[i] as number);
}

/** Half the number of the leading values that make up `share` of the total. */
function enough(values: readonly number[], share: number): number {
  const total = values.reduce((sum, value) => sum + value, 0);
  let count = 0;
  for (let sum = 0; count < values.length && sum < share * total; count++) sum += values[count] as number;
  return Math.max(LEAST_PER_ROUND, Math.ceil(count / 2));
}

/**
 * The drift since the previous step; undefined if the vectors were already moved. Then the remaining errors inform the
 * uncertainty if nothing else has.
 */
async function learn(
  step: RefreshStep,
  { drift, uncertainty, moved }: PolicyContext,
): Promise<Drift | undefined> {
  if (moved) {
    if (!uncertainty.learnt) await learnMovement(step, uncertainty);
    return undefined;
  }
  return step.time('map', async () => {
    const pairs = await step.pairs();
    const learnt = await drift.fit(pairs);
    const { residuals, seen } = learnt;
    const fresh = copyRows(new Float32Array(residuals.length), pairs.fresh, seen, pairs.dimension);
    const ages = seen.map((i) => pairs.ages[i] as number);
    uncertainty.learn(step.version, { residuals, fresh, ages }, step.rollouts);
    return learnt;
  });
}

/** The vectors of stale candidates before the step moved anything, and the position of each row among them. */
interface Before {
  vectors: Float32Array;
  places: ReadonlyMap<number, number>;
}

async function vectorsOf(step: RefreshStep, candidates: Candidates): Promise<Before> {
  const stale = candidates.rows.filter((row) => step.isStale(row));
  const places = new Map(stale.map((row, i) => [row, i]));
  return { vectors: await step.time('value', () => step.store.gather(stale)), places };
}

function pickRows({ vectors, places }: Before, rows: readonly number[], dimension: number): Float32Array {
  const own = rows.map((row) => places.get(row) as number);
  return copyRows(new Float32Array(rows.length * dimension), vectors, own, dimension);
}

/** A close look, with the predicted vectors of its stale rows, which come first. */
interface Look {
  closeup: Closeup;
  predicted: Float32Array;
}

async function look(
  step: RefreshStep,
  { drift: model, uncertainty, scratch, options }: PolicyContext,
  candidates: Candidates,
  before: Before,
  drift: Drift | undefined,
): Promise<Look> {
  let predicted: Float32Array = new Float32Array();
  const predict = async (stale: readonly number[]) => {
    const vectors = pickRows(before, stale, step.store.dimension);
    predicted = drift === undefined ? vectors : await model.move(drift, stale, vectors, true);
    return predicted;
  };
  const closeup = await step.time('value', () =>
    lookClosely(step, candidates, predict, uncertainty, scratch, options.cut),
  );
  return { closeup, predicted };
}

/**
 * Moves every stale vector in the store: candidates by map and kernel, the others by the map alone. `seen` is the look
 * that predicted the candidates by this drift, if there was one.
 */
async function settle(
  step: RefreshStep,
  { drift: model }: PolicyContext,
  candidates: Candidates,
  before: Before,
  drift: Drift,
  seen: Look | undefined,
): Promise<void> {
  if (drift.matrix === undefined && drift.kernel === undefined) return;
  const { store } = step;
  const near = candidates.rows.filter((row) => step.isStale(row));
  const predicted =
    seen?.predicted ?? (await model.move(drift, near, pickRows(before, near, store.dimension), true));
  if (drift.matrix !== undefined && candidates.rows.length < store.live) {
    await store.moveAll(drift.matrix, step.version);
  }
  await store.move(near, predicted);
}

/** Rows q M': their products with unmoved vectors are those of q with the moved ones, up to the length of these. */
function turned(queries: Float32Array, matrix: Float32Array): Float32Array {
  const dimension = Math.sqrt(matrix.length);
  const result = new Float32Array(queries.length);
  for (let at = 0; at < queries.length; at += dimension) {
    for (let i = 0; i < dimension; i++) {
      let sum = 0;
      for (let j = 0; j < dimension; j++) {
        sum += (queries[at + j] as number) * (matrix[i * dimension + j] as number);
      }
      result[at + i] = sum;
    }
  }
  return result;
}
