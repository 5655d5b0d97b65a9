/** The folders of the model and the index: what the settings name, else where a run leaves them. */
import { join } from 'node:path';
import { InputError } from '../../run/index.js';
import { MODEL } from '../result.js';
import type { Settings } from '../settings.js';

/** Of the model of a run, in its folder. */
const INDEX = 'index';

/** What evaluation can do without a model. */
export const WITHOUT_MODEL = 'With evaluate.systems bm25 (--systems bm25) none is needed.';

/** The model to use. @throws InputError, with the remedy given, where no setting tells. */
export const modelFolder = ({ model, out }: Pick<Settings, 'model' | 'out'>, remedy?: string): string =>
  model ??
  inRun(out, MODEL, {
    field: 'model',
    expected: 'the folder of a model (--model), or a config of a run',
    ...(remedy !== undefined && { remedy }),
  });

/** The index to write or to search; `flag` names it on the command line. @throws InputError where no setting tells. */
export const indexFolder = ({ index, out }: Pick<Settings, 'index' | 'out'>, flag: string): string =>
  index.folder ??
  inRun(out, INDEX, {
    field: 'index.folder',
    expected: `the folder of the index (${flag}), or a config of a run and no other model`,
  });

function inRun(
  out: string | undefined,
  name: string,
  wanted: { field: string; expected: string; remedy?: string },
): string {
  if (out !== undefined) return join(out, name);
  throw new InputError({ source: 'settings', ...wanted, found: 'nothing' });
}
