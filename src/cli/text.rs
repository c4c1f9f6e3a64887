//! Text for people: nothing hostile reaches the terminal, and everything fits.

/// The text without characters that could move the cursor, hide or reorder
/// what follows, or break the line.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|character| if is_hostile(character) { '\u{fffd}' } else { character }).collect()
}

/// The text cut to `columns`, with `…` where something is missing.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += columns_of(character);
        if used > columns {
            break;
        }
        cut.push(character);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// The text cut or filled up to exactly `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let fitted = fit(text, columns);
    let missing = columns.saturating_sub(width(&fitted));
    fitted + &" ".repeat(missing)
}

/// Columns the text takes at most.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Hangul, CJK and emoji take two columns. Rare narrow letters above are
/// counted as two as well: a short line is better than a broken one.
fn columns_of(character: char) -> usize {
    match u32::from(character) {
        0..0x1100 | 0x2000..0x2e80 | 0xfffd => 1,
        _ => 2,
    }
}

fn is_hostile(character: char) -> bool {
    let reorders = matches!(character,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    character.is_control() || reorders || matches!(character, '\u{e0000}'..='\u{e0fff}')
}

/// `1.2 GB`, with three digits at most.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if value < 10.0 && unit != "B" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `4.5 s`, `2m 05s` or `1h 02m`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a run can take")]
pub(super) fn time(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 3.2e9);
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 video`, `2 videos`.
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// `96 %`.
pub(super) fn percent(part: f64) -> String {
    format!("{:.0} %", part.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_titles_cannot_touch_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\u{202e}d\u{9b}e"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}e");
        assert_eq!(clean("Ünï 日本 🎬"), "Ünï 日本 🎬");
    }

    #[test]
    fn texts_are_cut_to_columns() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdefg", 6), "abcde…");
        assert_eq!(fit("日本語の題名", 6), "日本…");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn numbers_are_short() {
        let sizes = [0, 999, 1000, 9_940, 12_345_678, 999_999_999, 20_000_000_000];
        assert_eq!(sizes.map(size), ["0 B", "999 B", "1.0 kB", "9.9 kB", "12 MB", "1.0 GB", "20 GB"]);
        assert_eq!([0.04, 9.4, 59.4, 125.0, 3720.0].map(time), ["0.0 s", "9.4 s", "59 s", "2m 05s", "1h 02m"]);
    }
}
