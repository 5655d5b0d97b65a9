/** Records what the environment did in a step, as metrics, timings and warnings. */
import { type AuditReport, CAUSES, type Environment, type RefreshReport } from '../environment/index.js';
import { positivesOf, type TrainingQuery } from '../sft/index.js';
import type { StepRecord } from '../train/index.js';

export class EnvironmentLog {
  readonly #refreshes: RefreshReport[] = [];
  #audit: AuditReport | undefined;
  #skipped = 0;

  refreshed(report: RefreshReport): void {
    this.#refreshes.push(report);
  }

  audited(report: AuditReport): void {
    this.#audit = report;
  }

  skipped(queries: number): void {
    this.#skipped += queries;
  }

  /** Documents and tokens by cause, those of resampling rounds together; errors as the worst of these. */
  metrics(): Record<string, number> {
    const result: Record<string, number> = {
      skipped_queries: this.#skipped,
      refresh_rounds: this.#refreshes.reduce((total, { rounds }) => total + rounds, 0),
      expected_error: Math.max(0, ...this.#refreshes.map(({ expectedError }) => expectedError)),
    };
    const add = (name: string, value: number) => {
      result[name] = (result[name] ?? 0) + value;
    };
    for (const { encoded, tokens } of this.#refreshes) {
      for (const cause of CAUSES) {
        if (encoded[cause] !== undefined) add(`documents_${cause}`, encoded[cause]);
        if (tokens[cause] !== undefined) add(`tokens_${cause}`, tokens[cause]);
      }
    }
    const told = (name: 'recall' | 'positivesUnseen') =>
      this.#refreshes.flatMap(({ [name]: value }) => (value === undefined ? [] : [value]));
    const [recalls, unseen] = [told('recall'), told('positivesUnseen')];
    if (recalls.length > 0) result.search_recall = Math.min(...recalls);
    if (unseen.length > 0) result.positives_unseen = Math.max(...unseen);
    if (this.#audit === undefined) return result;
    const { rewardError, interval, misplaced, encoded, tokens } = this.#audit;
    return {
      ...result,
      documents_audit: encoded,
      tokens_audit: tokens,
      audited_error: rewardError,
      audited_error_low: interval[0],
      audited_error_high: interval[1],
      misplaced_documents: misplaced.estimate,
      misplaced_documents_low: misplaced.interval[0],
      misplaced_documents_high: misplaced.interval[1],
    };
  }

  /** The seconds of `parts.environment` by its own parts, the rest staying what it was. */
  timings(parts: Readonly<Record<string, number>>): Record<string, number> {
    const result = { ...parts };
    for (const { parts: own } of this.#refreshes) {
      for (const [part, seconds] of Object.entries(own)) {
        result[`environment_${part}`] = (result[`environment_${part}`] ?? 0) + seconds;
        result.environment = Math.max(0, (result.environment ?? 0) - seconds);
      }
    }
    return result;
  }

  warnings(): NonNullable<StepRecord['warnings']> {
    if (this.#audit === undefined || !this.#audit.exceeded) return [];
    const [low, high] = this.#audit.interval.map((value) => value.toFixed(4));
    const message = `the rewards may be off by ${low} to ${high} on average (95 %): encode more per step.`;
    return [{ code: 'environment_error', message }];
  }
}

/** The query with the relevant documents that are still there; undefined where none is. */
export function presentQuery(query: TrainingQuery, environment: Environment): TrainingQuery | undefined {
  const relevant = new Map([...query.relevant].filter(([id]) => environment.has(id)));
  if (relevant.size === query.relevant.size) return query;
  if (relevant.size === 0) return undefined;
  const positives = positivesOf(query).filter((id) => relevant.has(id));
  const { positives: _, ...rest } = query;
  return { ...rest, relevant, ...(positives.length > 0 && { positives }) };
}
