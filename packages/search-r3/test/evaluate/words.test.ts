import { normaliseText, wordsIn } from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';

const words = (text: string) => wordsIn(normaliseText(text));

describe('Chinese, Japanese and Korean', () => {
  // Apache Lucene 9, lucene/analysis/common/src/test/.../cjk: TestCJKAnalyzer (testJa1, testJa2, testMix, testMix2,
  // testFinalOffset, testNonIdeographic, testNonIdeographicNonLetter, testSurrogates, testSingleChar, testTokenStream) and
  // TestCJKBigramFilterFactory (testDefaults).
  test.each([
    ['一二三四五六七八九十', '一二 二三 三四 四五 五六 六七 七八 八九 九十'],
    ['一 二三四 五六七八九 十', '一 二三 三四 五六 六七 七八 八九 十'],
    ['abc defgh ijklmn opqrstu vwxy z', 'abc defgh ijklmn opqrstu vwxy z'],
    ['あいtest', 'あい test'],
    ['testあい    ', 'test あい'],
    ['あいうえおabcかきくけこ', 'あい いう うえ えお abc かき きく くけ けこ'],
    ['あいうえおabんcかきくけ こ', 'あい いう うえ えお ab ん c かき きく くけ こ'],
    ['一 روبرت موير', '一 روبرت موير'],
    ['一 رُوبرت موير', '一 رُوبرت موير'],
    ['𩬅艱鍟䇹愯瀛', '𩬅艱 艱鍟 鍟䇹 䇹愯 愯瀛'],
    ['一', '一'],
    ['一丁丂', '一丁 丁丂'],
    ['多くの学生が試験に落ちた。', '多く くの の学 学生 生が が試 試験 験に に落 落ち ちた'],
  ])('%s is cut as by Lucene', (text, expected) => {
    expect(words(text)).toEqual(expected.split(' '));
  });

  test.each([
    ['half-width katakana', 'ｶﾞﾗｽ ｺｰﾋｰ', 'ガラ ラス コー ーヒ ヒー'],
    ['full-width letters and digits', 'ＡＢＣ１２３年', 'ABC123 年'],
    ['Hangul, composed or not', '한국어 '.concat('한국어'.normalize('NFD')), '한국 국어 한국 국어'],
    ['scripts in a row', '東京タワーへ', '東京 京タ タワ ワー ーへ'],
    ['iteration marks', '人々〆', '人々 々〆'],
    ['marks on a character', 'か\u309aき', 'か\u309aき'],
    ['variation selectors', '葛\u{e0100}飾', '葛飾'],
    ['punctuation between', '公园，散步！(今天)', '公园 散步 今天'],
  ])('%s', (_, text, expected) => {
    expect(words(text)).toEqual(expected.normalize('NFC').split(' '));
  });
});

// The dictionaries of ICU, as of Node 20 (ICU 73) and later.
describe('scripts that are cut by dictionary', () => {
  test.each([
    ['Thai', 'ภาษาไทยเขียนติดกัน', 'ภาษา ไทย เขียน ติด กัน'],
    ['Thai am, as typed and as NFKC leaves it', 'ดื่มน้ำ ดื่มน้ํา', 'ดื่ม น้ำ ดื่ม น้ำ'],
    ['Lao', 'ພາສາລາວ', 'ພາສາ ລາວ'],
    ['Khmer', 'ខ្ញុំទៅផ្សារ', 'ខ្ញុំ ទៅ ផ្សារ'],
    ['Burmese', 'ကျွန်တော်စာအုပ်ဖတ်တယ်', 'ကျွန်တော် စာအုပ် ဖတ် တယ်'],
    ['Thai beside Latin', 'ใช้iPhoneใหม่', 'ใช้ iPhone ใหม่'],
  ])('%s', (_, text, expected) => {
    expect(words(text)).toEqual(expected.split(' '));
  });
});

describe('other scripts', () => {
  test.each([
    ['marks stay in the word', 'हिन्दी में तमिழ்', 'हिन्दी में तमिழ்'],
    ['Arabic with vowels', 'كِتَابٌ، قلم', 'كِتَابٌ قلم'],
    ['Cyrillic and Greek', 'Кошки й Ωμέγα', 'Кошки й Ωμέγα'],
    ['joiners and soft hyphens cut nothing', 'می\u200cخواهم co\u00adoperate', 'میخواهم cooperate'],
    ['symbols with selectors are no words', 'I \u2764\ufe0f it', 'I it'],
    ['halves of surrogate pairs and NUL cut', 'a\ud800b\u0000c', 'a b c'],
  ])('%s', (_, text, expected) => {
    expect(words(text)).toEqual(expected.split(' '));
  });
});
