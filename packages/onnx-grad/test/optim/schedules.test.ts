import { constantSchedule, cosineSchedule, linearSchedule, OptimError } from 'onnx-grad/optim';
import { describe, expect, test } from 'vitest';

const values = (schedule: (step: number) => number, steps: readonly number[]) =>
  steps.map((step) => Number(schedule(step).toFixed(12)));

describe('schedules', () => {
  test('constant: 1 after the warm-up', () => {
    expect(values(constantSchedule(), [1, 2, 1000])).toEqual([1, 1, 1]);
    expect(values(constantSchedule({ warmupSteps: 4 }), [1, 2, 3, 4, 5, 99])).toEqual([
      0.25, 0.5, 0.75, 1, 1, 1,
    ]);
  });

  test('linear: a straight line to the final fraction, which it keeps', () => {
    expect(values(linearSchedule({ totalSteps: 4 }), [1, 2, 3, 4, 5])).toEqual([0.75, 0.5, 0.25, 0, 0]);
    const schedule = linearSchedule({ warmupSteps: 2, totalSteps: 10, finalFraction: 0.2 });
    expect(values(schedule, [1, 2, 4, 6, 10, 11])).toEqual([0.5, 1, 0.8, 0.6, 0.2, 0.2]);
  });

  test('cosine: by known cosines (60, 90 and 120 degrees)', () => {
    const schedule = cosineSchedule({ warmupSteps: 3, totalSteps: 9, finalFraction: 0.1 });
    expect(values(schedule, [1, 3, 5, 6, 7, 9, 20])).toEqual([
      0.333333333333, 1, 0.775, 0.55, 0.325, 0.1, 0.1,
    ]);
    expect(cosineSchedule({ totalSteps: 1 })(1)).toBeCloseTo(0, 15);
  });

  test.each([
    [
      () => linearSchedule({ totalSteps: 0 }),
      'linearSchedule: totalSteps: expected an integer > warmupSteps (0), found 0',
    ],
    [() => cosineSchedule({ totalSteps: 5, warmupSteps: 5 }), 'cosineSchedule: totalSteps'],
    [
      () => cosineSchedule({ totalSteps: 5, finalFraction: 1.5 }),
      'finalFraction: expected a number in [0, 1], found 1.5',
    ],
    [() => linearSchedule({ totalSteps: 5, finalFraction: Number.NaN }), 'finalFraction'],
    [
      () => constantSchedule({ warmupSteps: 0.5 }),
      'constantSchedule: warmupSteps: expected an integer >= 0, found 0.5',
    ],
    [() => constantSchedule()(0), 'constantSchedule: step: expected an integer > 0, found 0'],
  ])('refuses %s', (call, message) => {
    expect(call).toThrow(OptimError);
    expect(call).toThrow(message);
  });
});
