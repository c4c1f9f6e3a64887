//! Languages: what sources call them, what players want to hear, and what people read.

/// Which tracks of a source are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Every one.
    #[default]
    All,
    /// None.
    None,
    /// Those of these languages, by [`Language::code`]; the first is what players choose.
    Languages(Vec<String>),
}

impl Wanted {
    /// `all`, `none`, or languages such as `en,de`. `None` if it names what is no language.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "all" => return Some(Self::All),
            "none" => return Some(Self::None),
            _ => {}
        }
        let code = |tag: &str| match language(tag.trim()).code {
            unknown if unknown == "und" && tag.trim() != "und" => None,
            code => Some(code),
        };
        text.split(',').map(code).collect::<Option<_>>().map(Self::Languages)
    }

    /// The place of a language in what is wanted: `None` if it is not, 0 for what players shall choose.
    /// A wanted `pt` takes `pt-BR` as well.
    pub fn place(&self, tag: &str) -> Option<usize> {
        let Self::Languages(wanted) = self else { return (*self == Self::All).then_some(0) };
        let code = language(tag).code;
        let of = |wanted: &String| code == *wanted || code.starts_with(&format!("{wanted}-"));
        wanted.iter().position(of)
    }
}

/// One language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    /// For names of folders: ISO 639-2 where there is such a code, such as `deu`.
    pub code: String,
    /// For players: the shortest code (RFC 5646, 2.2.1), such as `de`.
    pub tag: String,
    /// For people, in the language itself, such as `Deutsch`; empty where unknown.
    pub name: &'static str,
}

/// ISO 639-2/T, 639-2/B where it differs, 639-1, and the language's own name.
const KNOWN: [(&str, &str, &str, &str); 62] = [
    ("afr", "", "af", "Afrikaans"),
    ("ara", "", "ar", "العربية"),
    ("aze", "", "az", "Azərbaycanca"),
    ("bel", "", "be", "Беларуская"),
    ("ben", "", "bn", "বাংলা"),
    ("bos", "", "bs", "Bosanski"),
    ("bul", "", "bg", "Български"),
    ("cat", "", "ca", "Català"),
    ("ces", "cze", "cs", "Čeština"),
    ("cym", "wel", "cy", "Cymraeg"),
    ("dan", "", "da", "Dansk"),
    ("deu", "ger", "de", "Deutsch"),
    ("ell", "gre", "el", "Ελληνικά"),
    ("eng", "", "en", "English"),
    ("epo", "", "eo", "Esperanto"),
    ("est", "", "et", "Eesti"),
    ("eus", "baq", "eu", "Euskara"),
    ("fas", "per", "fa", "فارسی"),
    ("fin", "", "fi", "Suomi"),
    ("fra", "fre", "fr", "Français"),
    ("gle", "", "ga", "Gaeilge"),
    ("glg", "", "gl", "Galego"),
    ("heb", "", "he", "עברית"),
    ("hin", "", "hi", "हिन्दी"),
    ("hrv", "", "hr", "Hrvatski"),
    ("hun", "", "hu", "Magyar"),
    ("hye", "arm", "hy", "Հայերեն"),
    ("ind", "", "id", "Bahasa Indonesia"),
    ("isl", "ice", "is", "Íslenska"),
    ("ita", "", "it", "Italiano"),
    ("jpn", "", "ja", "日本語"),
    ("kat", "geo", "ka", "ქართული"),
    ("kaz", "", "kk", "Қазақша"),
    ("kor", "", "ko", "한국어"),
    ("lat", "", "la", "Latina"),
    ("lav", "", "lv", "Latviešu"),
    ("lit", "", "lt", "Lietuvių"),
    ("mkd", "mac", "mk", "Македонски"),
    ("mon", "", "mn", "Монгол"),
    ("msa", "may", "ms", "Bahasa Melayu"),
    ("nld", "dut", "nl", "Nederlands"),
    ("nob", "", "nb", "Norsk bokmål"),
    ("nor", "", "no", "Norsk"),
    ("pol", "", "pl", "Polski"),
    ("por", "", "pt", "Português"),
    ("ron", "rum", "ro", "Română"),
    ("rus", "", "ru", "Русский"),
    ("slk", "slo", "sk", "Slovenčina"),
    ("slv", "", "sl", "Slovenščina"),
    ("spa", "", "es", "Español"),
    ("sqi", "alb", "sq", "Shqip"),
    ("srp", "", "sr", "Српски"),
    ("swe", "", "sv", "Svenska"),
    ("tam", "", "ta", "தமிழ்"),
    ("tel", "", "te", "తెలుగు"),
    ("tha", "", "th", "ไทย"),
    ("tur", "", "tr", "Türkçe"),
    ("ukr", "", "uk", "Українська"),
    ("urd", "", "ur", "اردو"),
    ("vie", "", "vi", "Tiếng Việt"),
    ("yue", "", "yue", "粵語"),
    ("zho", "chi", "zh", "中文"),
];

/// English names, which files are named by.
const ENGLISH: [(&str, &str); 36] = [
    ("arabic", "ara"),
    ("bulgarian", "bul"),
    ("catalan", "cat"),
    ("chinese", "zho"),
    ("croatian", "hrv"),
    ("czech", "ces"),
    ("danish", "dan"),
    ("dutch", "nld"),
    ("estonian", "est"),
    ("finnish", "fin"),
    ("french", "fra"),
    ("german", "deu"),
    ("greek", "ell"),
    ("hebrew", "heb"),
    ("hindi", "hin"),
    ("hungarian", "hun"),
    ("icelandic", "isl"),
    ("indonesian", "ind"),
    ("italian", "ita"),
    ("japanese", "jpn"),
    ("korean", "kor"),
    ("latvian", "lav"),
    ("lithuanian", "lit"),
    ("norwegian", "nor"),
    ("persian", "fas"),
    ("polish", "pol"),
    ("portuguese", "por"),
    ("romanian", "ron"),
    ("russian", "rus"),
    ("serbian", "srp"),
    ("slovak", "slk"),
    ("slovenian", "slv"),
    ("spanish", "spa"),
    ("swedish", "swe"),
    ("turkish", "tur"),
    ("ukrainian", "ukr"),
];

/// The language of a tag as sources have it: `ger`, `de`, `pt-BR`, `English`. What looks like no tag is `und`.
pub fn language(tag: &str) -> Language {
    let lower = tag.to_ascii_lowercase().replace('_', "-");
    let valid =
        (2..=11).contains(&lower.len()) && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !valid || lower.starts_with('-') {
        return Language { code: "und".into(), tag: "und".into(), name: "" };
    }
    let (first, rest) = lower.split_once('-').map_or((lower.as_str(), None), |(first, rest)| (first, Some(rest)));
    let english = ENGLISH.iter().find(|(name, _)| *name == first);
    let first = english.map_or(first, |(_, code)| code);
    let known = KNOWN.iter().find(|(code, other, short, name)| {
        [*code, *other, *short].contains(&first) || name.eq_ignore_ascii_case(first)
    });
    let Some((code, _, short, name)) = known else { return Language { code: lower.clone(), tag: lower, name: "" } };
    let region = rest.map(|rest| format!("-{rest}")).unwrap_or_default();
    Language { code: format!("{code}{region}"), tag: format!("{short}{}", region.to_uppercase()), name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_known_by_all_their_codes() {
        let check = |tag: &str, code: &str, short: &str, name: &str| {
            let found = language(tag);
            assert_eq!((found.code.as_str(), found.tag.as_str(), found.name), (code, short, name));
        };
        check("ger", "deu", "de", "Deutsch");
        check("deu", "deu", "de", "Deutsch");
        check("EN", "eng", "en", "English");
        check("English", "eng", "en", "English");
        check("German", "deu", "de", "Deutsch");
        check("pt_BR", "por-br", "pt-BR", "Português");
        check("und", "und", "und", "");
        check("tlh", "tlh", "tlh", "");
        check("../..", "und", "und", "");
        check("", "und", "und", "");
    }

    #[test]
    fn languages_are_wanted_by_any_of_their_codes() {
        let wanted = Wanted::parse("de, en").unwrap();
        let places: Vec<_> = ["ger", "eng", "en-US", "fra", "und"].map(|tag| wanted.place(tag)).into();
        assert_eq!(places, [Some(0), Some(1), Some(1), None, None]);
        assert_eq!(Wanted::parse("all").unwrap().place("fra"), Some(0));
        assert_eq!(Wanted::parse("none").unwrap().place("fra"), None);
        assert_eq!(Wanted::parse("en,!"), None);
        assert_eq!(Wanted::parse(""), None);
    }

    #[test]
    fn no_code_stands_for_two() {
        let mut all: Vec<&str> = KNOWN.iter().flat_map(|(code, other, short, _)| [*code, *other, *short]).collect();
        all.retain(|code| !code.is_empty() && *code != "yue");
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
