/**
 * Renamed keys of settings, library options and the JSON files of models and runs. `validate` rejects an old key and
 * names the new one wherever the schema has the new key in its place.
 */

/** Old name -> new name of the last part of a dotted key. */
export const RENAMED_KEYS: Readonly<Record<string, string>> = {
  development: 'validation',
  tau: 'temperature',
};
