//! The contact sheet: one HTML file with all its pictures in it.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;

use super::report_page::escaped;
use super::text::{clean, count, size, time};
use super::trouble::Trouble;
use crate::job::photo::{Said, Summary};

/// Pictures on a sheet; a browser shows more of them badly, and each takes memory here.
const MOST: usize = 5000;

/// Collects what a sheet shows.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    cells: String,
    shown: usize,
    unseen: u64,
}

impl Sheet {
    /// Adds what happened to one picture.
    pub(super) fn add(&mut self, said: Said) {
        if self.shown >= MOST {
            self.unseen += 1;
            return;
        }
        let cell = match said {
            Said::Done { name, before, after, size: seen, quality, note, thumbnail, .. } => {
                let how = match (quality, seen) {
                    (Some(quality), Some((width, height))) => {
                        format!("{} → {}, {width}x{height}, quality {quality}", size(before), size(after))
                    }
                    _ => format!("{}, copied", size(after)),
                };
                let note = note.map_or_else(String::new, |note| format!("<br>{}", escaped(&clean(&note))));
                cell(thumbnail.as_deref(), &name, &format!("{}{note}", escaped(&how)))
            }
            Said::Already { name, .. } => cell(None, &name, "made by an earlier run"),
            Said::Failed { input, failure } => {
                cell(None, &input, &format!("<b>failed:</b> {}", escaped(&clean(&failure.what))))
            }
            Said::Mailed { .. } | Said::MailWaits { .. } | Said::NotMailed { .. } => return,
        };
        self.shown += 1;
        self.cells.push_str(&cell);
    }

    /// Writes the page; a file of that name stays whole until the new one is.
    pub(super) fn write(&self, file: &Path, summary: &Summary, to: &str, seconds: f64) -> Result<(), Trouble> {
        super::report::write_page(file, &self.page(summary, to, seconds))
    }

    fn page(&self, summary: &Summary, to: &str, seconds: f64) -> String {
        let title = format!("{} in {}", count(summary.done + summary.already, "picture"), time(seconds));
        let note = if self.unseen > 0 { format!("<p>and {} more</p>", self.unseen) } else { String::new() };
        format!(
            r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Forebay: {title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color-scheme: light dark }}
ul {{ list-style: none; padding: 0; display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)) }}
li {{ overflow-wrap: anywhere }} small {{ opacity: .75 }}
img {{ display: block; max-width: 240px; max-height: 240px; margin-bottom: .4rem; image-orientation: none }}
</style></head><body>
<h1>{title}</h1><p>to {to} · {before} → {after} · {failed} failed</p>
<ul>
{cells}</ul>{note}
</body></html>
"#,
            title = escaped(&title),
            to = escaped(&clean(to)),
            before = size(summary.before),
            after = size(summary.after),
            failed = summary.failed,
            cells = self.cells,
        )
    }
}

fn cell(thumbnail: Option<&[u8]>, name: &str, text: &str) -> String {
    let mut cell = String::from("<li>");
    if let Some(bytes) = thumbnail {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        write!(cell, r#"<img alt="" src="data:image/jpeg;base64,{data}">"#).unwrap_or_default();
    }
    writeln!(cell, "{}<br><small>{text}</small></li>", escaped(&clean(name))).unwrap_or_default();
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_only_text() {
        let mut sheet = Sheet::default();
        let name = "<script>x</script>\u{202e}.jpg".to_owned();
        sheet.add(Said::Already { input: String::new(), name });
        let page = sheet.page(&Summary::default(), "<to>", 1.0);
        assert!(page.contains("&lt;script&gt;x&lt;/script&gt;\u{fffd}.jpg") && page.contains("&lt;to&gt;"), "{page}");
    }
}
