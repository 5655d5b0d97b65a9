/** The texts that quantisation is checked on: prose, a question, code and numbers, so that many kinds of tokens occur. */
export const CALIBRATION_TEXTS = [
  'The harbour freezes in January, so ships unload at the outer pier and the goods travel the last mile by sledge.',
  'Which enzyme copies RNA into DNA, and in which viruses was it first described?',
  'function median(values) { const sorted = [...values].sort((a, b) => a - b); return sorted[sorted.length >> 1]; }',
  'In 1854, 616 deaths in Soho were traced to one pump: the mortality near it was 12.7 times that of other streets.',
  'Patients with type 2 diabetes who received metformin had a lower risk of cardiovascular events (HR 0.61, 95% CI 0.48-0.77).',
  'Dear committee, I am writing to ask whether the deadline for the travel grant, now 3 March, could be extended by a week.',
  'SELECT name, COUNT(*) FROM orders WHERE year >= 2020 GROUP BY name HAVING COUNT(*) > 5 ORDER BY 2 DESC;',
  'Le vent se lève, il faut tenter de vivre. Der Weg ist das Ziel. El agua clara corre entre las piedras.',
];
