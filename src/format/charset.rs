//! Text of any charset as UTF-8. Subtitles of twenty years are in the charset of the machine that wrote them.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// Bytes as text, and what had to be guessed or was damaged, in words. `language` is a tag that helps to guess.
pub fn text(bytes: &[u8], language: &str) -> (String, Option<String>) {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return decoded(encoding, bytes.get(mark..).unwrap_or_default());
    }
    if let Some(encoding) = wide(bytes) {
        return decoded(encoding, bytes);
    }
    match broken(bytes) {
        (_, 0) => return (String::from_utf8_lossy(bytes).into_owned(), None),
        // A letter or two may be torn; by chance nothing else looks so much like it.
        (whole, torn) if whole > torn * 4 => return decoded(encoding_rs::UTF_8, bytes),
        _ => {}
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let encoding = detector.guess(domain(language), Utf8Detection::Deny);
    let (text, trouble) = decoded(encoding, bytes);
    (text, Some(trouble.unwrap_or_else(|| format!("is not UTF-8, and read as {}", encoding.name()))))
}

fn decoded(encoding: &'static Encoding, bytes: &[u8]) -> (String, Option<String>) {
    let (text, torn) = encoding.decode_without_bom_handling(bytes);
    let trouble = torn.then(|| format!("has letters that are no {}", encoding.name()));
    (text.into_owned(), trouble)
}

/// UTF-16 without a mark: every other byte of Latin letters, digits and line ends is 0.
fn wide(bytes: &[u8]) -> Option<&'static Encoding> {
    let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let many = bytes.len() / 2 / 8 + 1;
    match () {
        () if odd > many && odd > even * 4 => Some(UTF_16LE),
        () if even > many && even > odd * 4 => Some(UTF_16BE),
        () => None,
    }
}

/// Letters of several bytes that are whole UTF-8, and runs of bytes that are none.
fn broken(bytes: &[u8]) -> (usize, usize) {
    bytes.utf8_chunks().fold((0, 0), |(whole, torn), chunk| {
        let letters = chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        (whole + letters, torn + usize::from(!chunk.invalid().is_empty()))
    })
}

/// The country in which a language is written most, which is what the detector asks for.
fn domain(language: &str) -> Option<&'static [u8]> {
    let domain: &[u8] = match language.split('-').next().unwrap_or_default() {
        "ar" | "fa" | "ur" => b"ae",
        "be" => b"by",
        "bg" => b"bg",
        "bs" | "hr" | "sl" => b"hr",
        "cs" | "sk" => b"cz",
        "el" => b"gr",
        "et" => b"ee",
        "he" => b"il",
        "hu" => b"hu",
        "ja" => b"jp",
        "ko" => b"kr",
        "lt" => b"lt",
        "lv" => b"lv",
        "mk" => b"mk",
        "pl" => b"pl",
        "ro" => b"ro",
        "ru" => b"ru",
        "sr" => b"rs",
        "th" => b"th",
        "tr" | "az" => b"tr",
        "uk" => b"ua",
        "vi" => b"vn",
        "zh" => b"cn",
        _ => return None,
    };
    Some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_charset_becomes_the_same_text() {
        let check = |bytes: &[u8], language: &str, expected: &str, trouble: Option<&str>| {
            let (found, word) = text(bytes, language);
            assert_eq!((found.as_str(), word.as_deref()), (expected, trouble));
        };
        check("Grüße\n".as_bytes(), "de", "Grüße\n", None);
        check(b"\xEF\xBB\xBFGr\xC3\xBC\xC3\x9Fe\n", "de", "Grüße\n", None);
        check(b"\xFF\xFEG\0r\0\xFC\0", "de", "Grü", None);
        let wide = |big: bool| -> Vec<u8> {
            let units = "00:01 Grüße an alle".encode_utf16();
            units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
        };
        check(&wide(true), "de", "00:01 Grüße an alle", None);
        check(&wide(false), "de", "00:01 Grüße an alle", None);
        let guessed = Some("is not UTF-8, and read as windows-1252");
        check(b"Sch\xF6ne Gr\xFC\xDFe aus M\xFCnchen\n", "de", "Schöne Grüße aus München\n", guessed);
        let russian = encoding_rs::WINDOWS_1251.encode("Привет, как дела сегодня?").0.into_owned();
        let guessed = Some("is not UTF-8, and read as windows-1251");
        check(&russian, "ru", "Привет, как дела сегодня?", guessed);
        let torn = [&b"\xFF"[..], "Grüße über Grüße über Straßen".as_bytes()].concat();
        check(&torn, "de", "\u{FFFD}Grüße über Grüße über Straßen", Some("has letters that are no UTF-8"));
    }
}
