/**
 * Keys that were renamed: in settings, options of the library, and the JSON files of models and runs. `validate` refuses
 * an old key and names the new one, wherever a schema knows the new key in its place.
 */

/** Old name -> new name, of the last part of a dotted key. */
export const RENAMED_KEYS: Readonly<Record<string, string>> = {
  development: 'validation',
  tau: 'temperature',
};
