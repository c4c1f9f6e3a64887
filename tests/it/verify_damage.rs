//! Damage planted in good packages, each kind found under the rule that is meant for it.

use std::collections::BTreeSet;
use std::fs;

use forebay::job::verify::finding::Finding;
use forebay::job::verify::render::render;
use forebay::job::verify::{Decode, Report, VerifyOptions};
use forebay::model::secret::Secret;

use crate::verify_packages::{Copy, Kind, entrance, film, look, made, options};

/// One kind of damage.
struct Damage {
    /// What is done, in words.
    name: &'static str,
    kind: Kind,
    /// The rule under which it must be found.
    rule: &'static str,
    plant: fn(&Copy),
}

const fn damage(name: &'static str, kind: Kind, rule: &'static str, plant: fn(&Copy)) -> Damage {
    Damage { name, kind, rule, plant }
}

/// Where the name of a box is in the file.
fn at(bytes: &[u8], name: [u8; 4]) -> usize {
    bytes
        .windows(4)
        .position(|window| window == &name[..])
        .unwrap_or_else(|| panic!("there is no {}", String::from_utf8_lossy(&name)))
}

fn rename(bytes: &mut [u8], name: [u8; 4]) {
    let at = at(bytes, name);
    bytes[at..at + 4].copy_from_slice(b"free");
}

/// Adds to the big-endian number of four bytes that ends `end` bytes after the name of the box.
fn add(bytes: &mut [u8], name: [u8; 4], end: usize, more: u32) {
    let end = at(bytes, name) + 4 + end;
    let number = u32::from_be_bytes(bytes[end - 4..end].try_into().unwrap());
    bytes[end - 4..end].copy_from_slice(&number.wrapping_add(more).to_be_bytes());
}

/// The low half of a `tfdt`, whose length goes by its version.
fn later(bytes: &mut [u8], units: u32) {
    let version = bytes[at(bytes, *b"tfdt") + 4];
    add(bytes, *b"tfdt", if version == 0 { 8 } else { 12 }, units);
}

/// Turns the first IDR slice of a segment of fMP4 into an ordinary one.
fn no_idr(bytes: &mut [u8]) {
    let mut unit = at(bytes, *b"mdat") + 4;
    while bytes[unit + 4] & 31 != 5 {
        unit += 4 + u32::from_be_bytes(bytes[unit..unit + 4].try_into().unwrap()) as usize;
    }
    bytes[unit + 4] = 0x41;
}

/// Everything from the last `#EXTINF` on goes, but for the end.
fn shorten(copy: &Copy, list: &str) {
    let text = fs::read_to_string(copy.path(list)).unwrap();
    let cut = text.rfind("#EXTINF").unwrap();
    fs::write(copy.path(list), format!("{}#EXT-X-ENDLIST\n", text.split_at(cut).0)).unwrap();
}

/// Puts a line before the second segment.
fn before_second(copy: &Copy, list: &str, line: &str) {
    let text = fs::read_to_string(copy.path(list)).unwrap();
    let place = text.match_indices("#EXTINF").nth(1).unwrap().0;
    let (head, tail) = text.split_at(place);
    fs::write(copy.path(list), format!("{head}{line}\n{tail}")).unwrap();
}

const F: Kind = Kind::ShakaFragments;
const C: Kind = Kind::ShakaCbcs;
const S: Kind = Kind::SealedFragments;
const T: Kind = Kind::FfmpegTsVariants;
const E: Kind = Kind::FfmpegTsEncrypted;

const TABLE: &[Damage] = &[
    // Fragmented MP4.
    damage("a segment is cut", F, "R21", |p| p.change("v/2.m4s", |bytes| bytes.truncate(bytes.len() - 100))),
    damage("a segment is empty", F, "R21", |p| p.change("v/2.m4s", Vec::clear)),
    damage("a segment is missing", F, "R04", |p| p.remove("v/2.m4s")),
    damage("the init section is missing", F, "R04", |p| p.remove("v/init.mp4")),
    damage("the init section is that of another size", F, "R16", |p| {
        fs::copy(p.path("l/init.mp4"), p.path("v/init.mp4")).unwrap();
    }),
    damage("the init section is not named", F, "R21", |p| p.edit("v.m3u8", "#EXT-X-MAP:URI=\"v/init.mp4\"\n", "")),
    damage("the init section is no fragmented one", F, "R21", |p| p.change("v/init.mp4", |b| rename(b, *b"mvex"))),
    damage("the init section has no moov", F, "R21", |p| p.change("v/init.mp4", |b| rename(b, *b"moov"))),
    damage("the brands are old", F, "R21", |p| {
        p.change("v/init.mp4", |bytes| {
            let end = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            bytes[8..end].chunks_exact_mut(4).for_each(|brand| brand.copy_from_slice(b"mp41"));
        });
    }),
    damage("avcC says another profile", F, "R15", |p| {
        p.change("v/init.mp4", |bytes| {
            let profile = at(bytes, *b"avcC") + 4 + 1;
            bytes[profile] = 66;
        });
    }),
    damage("the track is turned", F, "R36", |p| {
        p.change("v/init.mp4", |bytes| {
            let matrix = at(bytes, *b"tkhd") + 4 + if bytes[at(bytes, *b"tkhd") + 4] == 0 { 40 } else { 52 };
            let turned = [0_u32, 0x1_0000, 0, 0xffff_0000, 0].map(u32::to_be_bytes).concat();
            bytes[matrix..matrix + 20].copy_from_slice(&turned);
        });
    }),
    damage("a fragment is later than it should be", F, "R26", |p| p.change("v/2.m4s", |b| later(b, 12_800))),
    damage("a fragment has no time", F, "R21", |p| p.change("v/2.m4s", |b| rename(b, *b"tfdt"))),
    damage("a segment stands twice", F, "R26", |p| {
        fs::copy(p.path("v/1.m4s"), p.path("v/2.m4s")).unwrap();
    }),
    damage("a fragment is of another track", F, "R21", |p| p.change("v/2.m4s", |b| add(b, *b"tfhd", 8, 7))),
    damage("samples lie outside", F, "R21", |p| p.change("v/2.m4s", |b| add(b, *b"trun", 12, 1 << 20))),
    damage("a trun has more samples than it lists", F, "R21", |p| {
        p.change("v/2.m4s", |b| add(b, *b"trun", 8, 1 << 30));
    }),
    damage("the lengths of NAL units are wrong", F, "R21", |p| {
        p.change("v/2.m4s", |bytes| {
            let first = at(bytes, *b"mdat") + 4;
            bytes[first] = 0xff;
        });
    }),
    damage("an index lies", Kind::ShakaOneFile, "R51", |p| p.change("v.mp4", |bytes| bytes.truncate(bytes.len() - 10))),
    damage("a byte range begins elsewhere", Kind::ShakaOneFile, "R21", |p| {
        let text = fs::read_to_string(p.path("v.m3u8")).unwrap();
        let range = text.split("#EXT-X-BYTERANGE:").nth(1).unwrap().lines().next().unwrap().to_owned();
        let (length, offset) = range.split_once('@').unwrap();
        let moved = format!("{length}@{}", offset.parse::<u64>().unwrap() + 7);
        p.edit("v.m3u8", &range, &moved);
    }),
    damage("a segment begins with no key frame", F, "R22", |p| p.change("v/2.m4s", |b| no_idr(b))),
    damage("a picture is spoiled", F, "R29", |p| {
        p.change("v/2.m4s", |bytes| {
            let from = at(bytes, *b"mdat") + 200;
            bytes[from..from + 300].fill(0x5a);
        });
    }),
    damage("a list has another discontinuity", F, "R26", |p| before_second(p, "l.m3u8", "#EXT-X-DISCONTINUITY")),
    damage("a list ends early", F, "R24", |p| shorten(p, "l.m3u8")),
    damage("the sound ends early", F, "R41", |p| shorten(p, "a.m3u8")),
    damage("CHANNELS lies", F, "R18", |p| p.edit("master.m3u8", "CHANNELS=\"2\"", "CHANNELS=\"6\"")),
    damage("VIDEO-RANGE lies", F, "R19", |p| p.edit("master.m3u8", "VIDEO-RANGE=SDR", "VIDEO-RANGE=PQ")),
    damage("a list is not named like one", F, "R52", |p| {
        fs::rename(p.path("l.m3u8"), p.path("l.txt")).unwrap();
        p.edit("master.m3u8", "\nl.m3u8", "\nl.txt");
    }),
    // I-frame playlists.
    damage("an I-frame entry is no I-frame", F, "R20", |p| p.change("v/2.m4s", |b| no_idr(b))),
    damage("an I-frame entry begins elsewhere", F, "R20", |p| {
        let text = fs::read_to_string(p.path("v-i.m3u8")).unwrap();
        let offset = text.split('@').nth(2).unwrap().lines().next().unwrap().to_owned();
        p.edit("v-i.m3u8", &format!("@{offset}\nv/2"), &format!("@{}\nv/2", offset.parse::<u64>().unwrap() + 9));
    }),
    damage("an I-frame playlist does not say so", F, "R20", |p| p.edit("v-i.m3u8", "#EXT-X-I-FRAMES-ONLY\n", "")),
    damage("an I-frame playlist declares too few bits", F, "R20", |p| {
        let text = fs::read_to_string(p.path("master.m3u8")).unwrap();
        let line = text.lines().find(|line| line.starts_with("#EXT-X-I-FRAME-STREAM-INF")).unwrap();
        let rest = line.split_once(',').unwrap().1;
        p.edit("master.m3u8", line, &format!("#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100,{rest}"));
    }),
    damage("an I-frame playlist ends early", F, "R20", |p| {
        shorten(p, "v-i.m3u8");
        shorten(p, "v-i.m3u8");
    }),
    // Subtitles.
    damage("subtitles are something else", F, "R43", |p| p.edit("t/1.vtt", "WEBVTT", "WEBSRT")),
    damage("a cue ends before it begins", F, "R43", |p| p.edit("t/1.vtt", "00:00:00.500 -->", "00:00:01.900 -->")),
    damage("cues are mapped ten seconds away", F, "R43", |p| {
        p.edit("t/1.vtt", "WEBVTT\n", "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n");
    }),
    damage("subtitles end early", F, "R43", |p| {
        shorten(p, "t.m3u8");
        shorten(p, "t.m3u8");
    }),
    // DASH.
    damage("a manifest names other segments", F, "R56", |p| p.edit("manifest.mpd", "v/$Number$.m4s", "w/$Number$.m4s")),
    damage("a manifest has a document type", F, "R56", |p| {
        p.edit("manifest.mpd", "<MPD", "<!DOCTYPE MPD [<!ENTITY a \"b\">]>\n<MPD");
    }),
    damage("a manifest is cut", F, "R56", |p| p.change("manifest.mpd", |bytes| bytes.truncate(bytes.len() / 2))),
    damage("a manifest is longer than its media", F, "R57", |p| {
        p.edit("manifest.mpd", "mediaPresentationDuration=\"PT6S\"", "mediaPresentationDuration=\"PT9S\"");
    }),
    damage("a timeline begins late", F, "R57", |p| p.edit("manifest.mpd", "<S t=\"0\"", "<S t=\"96000\"")),
    damage("a manifest says other codecs", F, "R58", |p| p.edit("manifest.mpd", "codecs=\"avc1.", "codecs=\"hvc1.")),
    damage("a manifest says too few bits", F, "R58", |p| {
        p.edit("manifest.mpd", "bandwidth=\"", "bandwidth=\"1\" x=\"");
    }),
    damage("a manifest has fewer segments than the list", F, "R58", |p| p.edit("manifest.mpd", "r=\"2\"", "r=\"1\"")),
    // AES-128 on fMP4 and TS.
    damage("sealed: a segment is clear", S, "R49", |p| {
        fs::copy(made(Kind::FfmpegFragments).join("index1.m4s"), p.path("index1.m4s")).unwrap();
    }),
    damage("sealed: another IV", S, "R45", |p| {
        p.edit("index.m3u8", "keys.example/v1\"", "keys.example/v1\",IV=0x11000000000000000000000000000000");
    }),
    damage("sealed: a byte is flipped at the end", S, "R45", |p| {
        p.change("index1.m4s", |bytes| *bytes.last_mut().unwrap() ^= 1);
    }),
    damage("sealed: the list does not say so", S, "R49", |p| {
        p.edit("index.m3u8", "#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/v1\"\n", "");
    }),
    damage("sealed: the init section should be, too", S, "R49", |p| {
        let text = fs::read_to_string(p.path("index.m3u8")).unwrap();
        let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/v1\"\n";
        fs::write(p.path("index.m3u8"), text.replace(key, "").replace("#EXT-X-MAP", &format!("{key}#EXT-X-MAP")))
            .unwrap();
    }),
    damage("sealed TS: another IV", E, "R45", |p| p.edit("index.m3u8", "IV=0x0011", "IV=0x1111")),
    damage("sealed TS: the key lies beside it", E, "R46", |p| fs::write(p.path("a.key"), [7; 16]).unwrap()),
    damage("sealed TS: the key comes in the clear", E, "R50", |p| p.edit("index.m3u8", "https:", "http:")),
    damage("sealed TS: the method is not known", E, "R44", |p| p.edit("index.m3u8", "AES-128", "AES-192")),
    // Samples encrypted one by one.
    damage("cbcs: the list does not say so", C, "R49", |p| {
        let text = fs::read_to_string(p.path("v.m3u8")).unwrap();
        let key = text.lines().find(|line| line.starts_with("#EXT-X-KEY")).unwrap();
        p.edit("v.m3u8", &format!("{key}\n"), "");
    }),
    damage("cbcs: the list says cenc", C, "R49", |p| p.edit("v.m3u8", "METHOD=SAMPLE-AES,", "METHOD=SAMPLE-AES-CTR,")),
    damage("cbcs: the init section is a clear one", C, "R49", |p| {
        fs::copy(made(F).join("v/init.mp4"), p.path("v/init.mp4")).unwrap();
    }),
    damage("cbcs: the parts of samples do not add up", C, "R45", |p| {
        p.change("v/2.m4s", |bytes| {
            let senc = at(bytes, *b"senc") + 4 + 8 + 2;
            bytes[senc + 1] = bytes[senc + 1].wrapping_add(16);
        });
    }),
    damage("cbcs: the entries of senc are fewer", C, "R45", |p| p.change("v/2.m4s", |b| add(b, *b"senc", 8, u32::MAX))),
    damage("cbcs: a picture is spoiled", C, "R29", |p| {
        p.change("v/2.m4s", |bytes| {
            let from = at(bytes, *b"mdat") + 400;
            bytes[from..from + 300].fill(0x5a);
        });
    }),
    // Transport streams.
    damage("TS: a packet is missing", T, "R26", |p| p.change("v00.ts", |bytes| drop(bytes.drain(188 * 50..188 * 51)))),
    damage("TS: the last packet is cut", T, "R21", |p| p.change("v00.ts", |bytes| bytes.truncate(bytes.len() - 100))),
    damage("TS: a table is damaged", T, "R21", |p| p.change("v00.ts", |bytes| bytes[188 + 20] ^= 0xff)),
    damage("TS: a web page stands for a segment", T, "R21", |p| {
        fs::write(p.path("v01.ts"), "<html>404 Not Found</html>").unwrap();
    }),
    damage("TS: segments are swapped", T, "R26", |p| {
        let (one, two) = (fs::read(p.path("v01.ts")).unwrap(), fs::read(p.path("v02.ts")).unwrap());
        fs::write(p.path("v01.ts"), two).unwrap();
        fs::write(p.path("v02.ts"), one).unwrap();
    }),
    damage("TS: a segment is of another package", T, "R26", |p| {
        fs::copy(made(Kind::FfmpegTs).join("index2.ts"), p.path("v01.ts")).unwrap();
    }),
    damage("TS: a leftover lies about", T, "R04", |p| fs::write(p.path("v09.ts.tmp"), "x").unwrap()),
];

/// The findings that the good package does not have.
fn new<'a>(report: &'a Report, before: &Report) -> Vec<&'a Finding> {
    let known: BTreeSet<(&str, &str, &str)> = before
        .violations
        .iter()
        .chain(&before.warnings)
        .map(|finding| (finding.rule, finding.where_.as_str(), finding.what.as_str()))
        .collect();
    let all = report.violations.iter().chain(&report.warnings);
    all.filter(|finding| !known.contains(&(finding.rule, finding.where_.as_str(), finding.what.as_str()))).collect()
}

#[test]
fn each_kind_of_damage_is_found_under_its_rule() {
    assert!(TABLE.len() >= 60, "{}", TABLE.len());
    let mut missed = Vec::new();
    let before: Vec<(Kind, Report)> = [F, C, S, T, E, Kind::ShakaOneFile]
        .into_iter()
        .map(|kind| (kind, look(entrance(&made(kind)), VerifyOptions { apple: true, ..options() })))
        .collect();
    for Damage { name, kind, rule, plant } in TABLE {
        let copy = Copy::of(*kind);
        plant(&copy);
        let decode = if *rule == "R29" { Decode::Sample } else { Decode::Nothing };
        let report = look(entrance(&copy.root()), VerifyOptions { apple: true, decode, ..options() });
        let (_, good) = before.iter().find(|(made, _)| made == kind).unwrap();
        if !new(&report, good).iter().any(|finding| finding.rule == *rule) {
            missed.push(format!("{name}: not found under {rule}\n{}", render(&report)));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_wrong_key_is_found() {
    for (kind, rule) in [(C, "R29"), (S, "R45"), (E, "R45")] {
        let key = Some(Secret::new(hex::decode("a107339c5e0100fe804412d06bee2958").unwrap()));
        let report = look(entrance(&made(kind)), VerifyOptions { key, decode: Decode::Sample, ..options() });
        assert!(report.violations.iter().any(|finding| finding.rule == rule), "{kind:?}\n{}", render(&report));
    }
}

#[test]
fn a_key_that_is_text_is_found() {
    let key = Some(Secret::new(b"a secret key 123".to_vec()));
    let report = look(entrance(&made(C)), VerifyOptions { key, ..options() });
    assert!(report.warnings.iter().any(|finding| finding.rule == "R47"), "{}", render(&report));
}

/// Bytes at random places become others; whatever comes of it, the check ends, and soon.
#[test]
fn random_damage_neither_hangs_nor_panics() {
    let mut state = 20_261_124_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 8).unwrap() % below.max(1)
    };
    let begun = std::time::Instant::now();
    for round in 0..24 {
        let kind = [F, C, T, Kind::ShakaOneFile, S][round % 5];
        let copy = Copy::of(kind);
        let mut files = Vec::new();
        let mut open = vec![copy.root()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let list = if entry.file_type().unwrap().is_dir() { &mut open } else { &mut files };
                list.push(entry.path());
            }
        }
        files.sort();
        for file in &files {
            let mut bytes = fs::read(file).unwrap();
            // Headers are where lengths stand, so they are hit more often.
            for _ in 0..=round % 4 {
                let reach = if next(2) == 0 { 400 } else { bytes.len() };
                let place = next(reach.min(bytes.len()));
                let value = [0, 0xff, 0x7f, 0x80, 1, u8::try_from(next(256)).unwrap()][next(6)];
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = value;
                }
            }
            fs::write(file, bytes).unwrap();
        }
        let report = look(entrance(&copy.root()), VerifyOptions { apple: true, ..options() });
        assert!(!report.violations.is_empty(), "{kind:?} in round {round}");
    }
    assert!(begun.elapsed().as_secs() < 120);
}

#[test]
fn another_film_is_not_taken_for_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let other = |name: &str, filter: &str| {
        let file = folder.path().join(name);
        let source = film().display().to_string();
        crate::verify_packages::ffmpeg(folder.path(), &format!("-i {source} {filter} {name}"));
        file
    };
    let encode = "-c:v libx264 -preset ultrafast -g 50";
    let cases = [
        ("sound-early.mp4", "-c:v copy -af adelay=250:all=1 -t 6".to_owned(), "R40"),
        ("mirrored.mp4", format!("-vf hflip {encode}"), "R37"),
        ("upside-down.mp4", format!("-vf vflip {encode}"), "R37"),
        ("late.mp4", format!("-vf tpad=start_duration=1:start_mode=clone,trim=duration=6 {encode}"), "R37"),
        ("longer.mp4", format!("-vf tpad=stop_duration=2:stop_mode=clone {encode}"), "R42"),
    ];
    for (name, filter, rule) in cases {
        let looked = VerifyOptions { source: Some(other(name, &filter)), ..options() };
        let report = look(entrance(&made(F)), looked);
        assert!(report.violations.iter().any(|finding| finding.rule == rule), "{name}:\n{}", render(&report));
    }
}
