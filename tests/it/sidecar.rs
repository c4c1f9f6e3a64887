//! Subtitles that lie beside a film: which are taken, in which language, from
//! which charset, and that a change of them is seen.

use std::fs;
use std::path::Path;

use crate::support::sandbox::{Run, Sandbox};
use crate::support::{media, oracle, watch};

/// One cue of `SubRip`.
fn srt(words: &str) -> String {
    format!("1\r\n00:00:01,000 --> 00:00:02,500\r\n{words}\r\n\r\n")
}

fn utf16(text: &str) -> Vec<u8> {
    [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

/// Each rendition of text, with the line of the master playlist and the text of its first segment.
fn texts(dest: &Path) -> Vec<(String, String, String)> {
    let master = watch::master(dest, "v");
    oracle::judge(&master).unwrap();
    let text = fs::read_to_string(&master).unwrap();
    let read = |(name, playlist): (String, std::path::PathBuf)| {
        let line = text.lines().find(|line| line.contains(&format!("/{name}/"))).unwrap().to_owned();
        let words = fs::read_to_string(playlist.with_file_name("00000.vtt")).unwrap();
        (name, line, words)
    };
    watch::playlists(&master).into_iter().filter(|(name, _)| name.starts_with("subs-")).map(read).collect()
}

fn hls(sandbox: &Sandbox, film: &str, more: &[&str]) -> Run {
    let usual = ["hls", film, "--to", "out", "--id", "v", "--ladder", "240p", "--profile", "fast", "--json"];
    sandbox.forebay(usual.into_iter().chain(more.iter().copied())).expect(0)
}

fn is_known(run: &Run) -> bool {
    run.events().iter().any(|event| event["event"] == "already-done")
}

fn warnings(run: &Run) -> Vec<String> {
    let all = run.events().into_iter().filter(|event| event["event"] == "warning");
    all.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn subtitles_beside_a_film_become_renditions() {
    let sandbox = Sandbox::new();
    let film = sandbox.copy(&media::clip_of(3, "320x180"), "films/film.mp4");
    sandbox.copy(&film, "films/film.tr.mp4");
    let latin: Vec<u8> = "Grüße aus Köln, schöne Straße".chars().map(|letter| letter as u8).collect();
    let ass = "[Script Info]\nScriptType: v4.00+\n\n[Events]\n\
               Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
               Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}Ciao{\\i0}\n";
    let vtt = "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nnote\n00:01.000 --> 00:02.500 line:0\nSchild\n";
    for (name, bytes) in [
        ("film.srt", srt("plain").into_bytes()),
        ("film.en.sdh.srt", format!("\u{FEFF}{}", srt("[door] Hello ☃")).into_bytes()),
        ("film.de.srt", [b"1\n00:00:01,000 --> 00:00:02,500\n".to_vec(), latin, b"\n".to_vec()].concat()),
        ("film.de.forced.vtt", vtt.into()),
        ("film.it.ass", ass.into()),
        ("film.fr.srt", utf16(&srt("Ça va ?"))),
        ("film.es.srt", b"<html>not found</html>".to_vec()),
        ("film.tr.srt", srt("of another film").into_bytes()),
        ("film.idx", b"# VobSub".to_vec()),
        ("other.srt", srt("of nobody").into_bytes()),
    ] {
        sandbox.write(&format!("films/{name}"), bytes);
    }
    let run = hls(&sandbox, film.to_str().unwrap(), &[]);
    let found = texts(&sandbox.path("out"));
    let names: Vec<&str> = found.iter().map(|text| text.0.as_str()).collect();
    assert_eq!(names, ["subs-deu", "subs-deu-forced", "subs-eng", "subs-fra", "subs-ita", "subs-und"]);
    let expected = [
        ("LANGUAGE=\"de\",", "FORCED=NO", "Grüße aus Köln, schöne Straße"),
        ("LANGUAGE=\"de\",", "FORCED=YES", "Schild"),
        ("LANGUAGE=\"en\",", "public.accessibility.describes-music-and-sound", "[door] Hello ☃"),
        ("LANGUAGE=\"fr\",", "FORCED=NO", "Ça va ?"),
        ("LANGUAGE=\"it\",", "FORCED=NO", "<i>Ciao</i>"),
        ("", "FORCED=NO", "plain"),
    ];
    for ((name, line, words), (language, kind, said)) in found.iter().zip(expected) {
        assert!(line.contains(language) && line.contains(kind), "{name}: {line}");
        assert_eq!(words.split_once("\n\n").unwrap().1, format!("00:00:01.000 --> 00:00:02.500\n{said}\n"), "{name}");
    }
    let warnings = warnings(&run);
    for words in
        ["film.de.srt` is not UTF-8, and read as windows-1252", "film.idx` holds pictures", "subs-spa is left out"]
    {
        assert!(warnings.iter().any(|warning| warning.contains(words)), "{words}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    let told = sandbox.forebay(["plan", film.to_str().unwrap()]).expect(0).stdout;
    assert!(told.contains("subs-deu-forced WebVTT, of a file beside the source, forced"), "{told}");
}

#[test]
fn changed_subtitles_make_the_package_anew() {
    let sandbox = Sandbox::new();
    sandbox.copy(&media::clip_of(3, "320x180"), "film.mp4");
    let run = |more: &[&str]| is_known(&hls(&sandbox, "film.mp4", more));
    let generation = || oracle::judge(&watch::master(&sandbox.path("out"), "v")).unwrap().generation;
    assert!(!run(&[]) && run(&[]));
    let without = generation();
    sandbox.write("film.en.srt", srt("first"));
    assert!(!run(&[]) && run(&[]));
    let first = generation();
    sandbox.write("film.en.srt", srt("other"));
    assert!(!run(&[]) && run(&[]));
    assert!(texts(&sandbox.path("out"))[0].2.contains("other"));
    let generations = [without.clone(), first, generation()];
    assert!(generations.iter().enumerate().all(|(at, one)| !generations[..at].contains(one)), "{generations:?}");
    // Who wants none does not care; who has them no more gets what was there before.
    assert!(!run(&["--subtitles", "none"]));
    sandbox.write("film.en.srt", srt("never seen"));
    assert!(run(&["--subtitles", "none"]));
    fs::remove_file(sandbox.path("film.en.srt")).unwrap();
    assert!(!run(&[]));
    assert_eq!(generation(), without);
}
