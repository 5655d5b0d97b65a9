/** Escaping and number formats for HTML. */

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** Control characters, which HTML does not allow, and halves of surrogate pairs, which UTF-8 cannot hold. */
const FORBIDDEN = /(?![\t\n\r])[\p{Cc}\p{Cs}]/gu;

/** `text` for element content and quoted attributes; characters HTML cannot hold become U+FFFD. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '').replace(FORBIDDEN, '\ufffd');
}

/** A number for readers: about four significant digits, an exponent only for tiny values. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return 'n/a';
  const size = Math.abs(value);
  if (value === 0 || Number.isInteger(value)) return value.toLocaleString('en-US');
  if (size >= 1000) return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
  if (size < 1e-4) return value.toExponential(2);
  return Number(value.toPrecision(4)).toString();
}
